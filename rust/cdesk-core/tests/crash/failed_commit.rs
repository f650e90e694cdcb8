//! What a commit that failed may leave on the device, and what must not come of it.

use std::sync::Arc;

use cdesk_core::{BatchLimits, Consumer, ManualClock, Queue, QueueOptions};

use crate::sim::{EIO, Failure, Fault, Host, Lasts, Scope, mix};

#[test]
fn a_seek_back_outlasts_power_loss_though_a_commit_failed_before_it() {
    for seed in (0..200).map(mix) {
        let clock = Arc::new(ManualClock::new(1));
        let host = Host::new(seed, Arc::clone(&clock));
        let queue = Queue::with(host.start(), Arc::clone(&clock), QueueOptions::default()).unwrap();
        queue.append_many(&["{\"id\":0}", "{\"id\":1}"]).unwrap();
        queue.close().unwrap();
        let open = || Consumer::with(host.start(), Arc::clone(&clock), "first").unwrap();
        let mut consumer = open();
        let [first, second] = [(); 2]
            .map(|()| consumer.next_batch(BatchLimits::default().max_lines(1)).unwrap().unwrap().position);
        consumer.commit(&first).unwrap();
        let fault = Fault::new(0, Failure::Errno(EIO), Lasts::Once, Scope::Syncs);
        host.lock().fault = Some(fault);
        consumer.commit(&second).unwrap_err();
        consumer.seek(&first).unwrap(); // its sink has no more
        host.lock().lose_power();
        drop(consumer);
        assert_eq!(open().position(), &first, "{seed}: what is to come again is deleted by others");
    }
}
