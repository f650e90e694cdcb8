//! What the hot paths cost: one durable append against the bare write and fdatasync it cannot do without, a tag,
//! a query hash, a cache hit.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use cdesk_core::{CacheLimits, ContextCache, QueryTags, Queue, QueueOptions, SystemClock, Value, query_hash};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const LINE_BYTES: usize = 300;

/// On the disk that holds the build, not in a /tmp that may be memory.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo makes this directory")
}

fn line() -> Vec<u8> {
    let padding = "x".repeat(LINE_BYTES - 12);
    format!("{{\"text\":\"{padding}\"}}").into_bytes()
}

fn durable_append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(1));
    let directory = directory();

    let growing = File::create(directory.path().join("growing")).expect("a file");
    let mut end = 0;
    group.bench_function("raw: write + fdatasync, growing file", |bencher| {
        bencher.iter(|| {
            growing.write_all_at(&[b'x'; LINE_BYTES], end).expect("written");
            growing.sync_data().expect("synced");
            end += 300;
        });
    });

    let filled = File::create(directory.path().join("filled")).expect("a file");
    filled.write_all_at(&vec![0; 64 << 20], 0).expect("zeros");
    filled.sync_all().expect("synced");
    let mut end = 0;
    group.bench_function("raw: write + fdatasync, zero-filled file", |bencher| {
        bencher.iter(|| {
            filled.write_all_at(&[b'x'; LINE_BYTES], end).expect("written");
            filled.sync_data().expect("synced");
            end = (end + 300) % (60 << 20);
        });
    });

    let queue = Queue::open(directory.path().join("queue"), QueueOptions::default()).expect("a queue");
    let line = line();
    group.bench_function("queue: one producer", |bencher| {
        bencher.iter(|| queue.append(&line).expect("durable"));
    });
    for threads in [8, 64] {
        group.bench_function(format!("queue: {threads} producers"), |bencher| {
            bencher.iter_custom(|appends| together(&queue, &line, threads, appends));
        });
    }
    group.finish();
}

/// How long so many threads take for so many appends, or a few more, so that each has the same.
fn together(queue: &Queue, line: &[u8], threads: u64, appends: u64) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..appends.div_ceil(threads) {
                    queue.append(line).expect("durable");
                }
            });
        }
    });
    began.elapsed()
}

fn tag(criterion: &mut Criterion) {
    let directory = directory();
    let tags = QueryTags::open(directory.path().join("tags")).expect("tags");
    criterion.bench_function("tag", |bencher| bencher.iter(|| tags.next_tag().expect("a tag").to_string()));
}

fn hash(criterion: &mut Criterion) {
    let template = "SELECT activity, count(*)\n  FROM events\n  WHERE ts >= :since\n  GROUP BY activity\n";
    let params = Value::Object(vec![
        ("since".into(), Value::Text("2026-11-01".into())),
        ("limit".into(), Value::Integer(10)),
        ("share".into(), Value::Number(0.25)),
    ]);
    criterion.bench_function("query hash", |bencher| {
        bencher.iter(|| query_hash(black_box(template), black_box(&params)).expect("a hash"));
    });
}

fn cache(criterion: &mut Criterion) {
    let limits =
        CacheLimits::new(1_000, 1 << 20).ttl(Duration::from_secs(600)).stale_after(Duration::from_secs(30));
    let cache = ContextCache::new(limits, SystemClock::new());
    for number in 0..1_000 {
        cache.put(&format!("customer-{number}"), number, 8);
    }
    criterion.bench_function("cache hit", |bencher| bencher.iter(|| cache.get(black_box("customer-500"))));
}

criterion_group!(benches, durable_append, tag, hash, cache);
criterion_main!(benches);
