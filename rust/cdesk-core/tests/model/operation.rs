//! What may happen to a log.

use cdesk_core::Durability;
use proptest::prelude::*;

pub(crate) const WRITERS: usize = 3;
pub(crate) const CONSUMERS: usize = 2;

/// What stays the same during a program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) durability: Durability,
    pub(crate) max_segment_bytes: u64,
}

/// A place to seek to, to commit, or to have checkpointed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Where nothing is consumed.
    Start,
    /// Where the consumer stood after its last batch.
    Last,
    /// Where one of the consumers stood some time ago.
    Earlier(prop::sample::Index),
    /// The last one, and a segment that there never was.
    Unknown,
    /// The last one, and more lines of one segment than it has.
    PastTheEnd(prop::sample::Index, u64),
}

/// A writer or consumer that is not there is opened first.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Append {
        writer: usize,
        padding: usize,
    },
    AppendMany {
        writer: usize,
        lines: usize,
    },
    Submit {
        writer: usize,
        lines: usize,
    },
    AppendRubbish {
        writer: usize,
    },
    Roll {
        writer: usize,
    },
    Close {
        writer: usize,
    },
    Drop {
        writer: usize,
    },
    /// A process that wrote so many lines, and half of one more, is dead.
    FindDeadWriter {
        lines: u64,
        is_torn: bool,
    },
    Advance {
        seconds: u64,
    },
    StepBack {
        milliseconds: u64,
    },
    NextBatch {
        consumer: usize,
        max_lines: usize,
        max_bytes: usize,
    },
    Commit {
        consumer: usize,
        place: Place,
    },
    CommitAhead {
        consumer: usize,
        place: Place,
        safe: Place,
    },
    Seek {
        consumer: usize,
        place: Place,
    },
    Leave {
        consumer: usize,
    },
    Depth {
        consumer: usize,
    },
    Prune {
        consumer: usize,
        checkpointed: Place,
        is_any_age_enough: bool,
    },
}

impl Setting {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let durability = prop_oneof![Just(Durability::Os), Just(Durability::Fsync)];
        let bytes = prop_oneof![Just(50_000_000), Just(600), Just(150), Just(1)];
        (durability, bytes).prop_map(|(durability, max_segment_bytes)| Self { durability, max_segment_bytes })
    }
}

impl Place {
    fn any() -> impl Strategy<Value = Self> {
        let index = any::<prop::sample::Index>;
        prop_oneof![
            8 => Just(Self::Last),
            2 => Just(Self::Start),
            3 => index().prop_map(Self::Earlier),
            1 => Just(Self::Unknown),
            1 => (index(), 1..4_u64).prop_map(|(segment, lines)| Self::PastTheEnd(segment, lines)),
        ]
    }
}

impl Operation {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let writer = || 0..WRITERS;
        let consumer = || 0..CONSUMERS;
        let max_bytes = prop_oneof![1..300_usize, Just(8 << 20)];
        let max_lines = prop_oneof![0..6_usize, Just(10_000)];
        let batch = (consumer(), max_lines, max_bytes);
        let prune = (consumer(), Place::any(), prop::bool::weighted(0.8));
        prop_oneof![
            4 => (writer(), 0..200_usize).prop_map(|(writer, padding)| Self::Append { writer, padding }),
            3 => (writer(), 0..6_usize).prop_map(|(writer, lines)| Self::AppendMany { writer, lines }),
            3 => (writer(), 1..6_usize).prop_map(|(writer, lines)| Self::Submit { writer, lines }),
            1 => writer().prop_map(|writer| Self::AppendRubbish { writer }),
            2 => writer().prop_map(|writer| Self::Roll { writer }),
            1 => writer().prop_map(|writer| Self::Close { writer }),
            1 => writer().prop_map(|writer| Self::Drop { writer }),
            1 => (1..4_u64, any::<bool>())
                .prop_map(|(lines, is_torn)| Self::FindDeadWriter { lines, is_torn }),
            1 => (0..70_u64).prop_map(|seconds| Self::Advance { seconds }),
            1 => (1..5_000_u64).prop_map(|milliseconds| Self::StepBack { milliseconds }),
            8 => batch.prop_map(|(consumer, max_lines, max_bytes)| {
                Self::NextBatch { consumer, max_lines, max_bytes }
            }),
            4 => (consumer(), Place::any()).prop_map(|(consumer, place)| Self::Commit { consumer, place }),
            2 => (consumer(), Place::any(), Place::any()).prop_map(|(consumer, place, safe)| {
                Self::CommitAhead { consumer, place, safe }
            }),
            2 => (consumer(), Place::any()).prop_map(|(consumer, place)| Self::Seek { consumer, place }),
            2 => consumer().prop_map(|consumer| Self::Leave { consumer }),
            2 => consumer().prop_map(|consumer| Self::Depth { consumer }),
            3 => prune.prop_map(|(consumer, checkpointed, is_any_age_enough)| {
                Self::Prune { consumer, checkpointed, is_any_age_enough }
            }),
        ]
    }
}
