//! Writers and consumers do anything in any order, and a few vectors say what must come of it.
//!
//! The reference reads the segments with another parser than the log's, and keeps a list where the log has readers,
//! windows and hints. What fails is made as short as it can be and printed: `program` is the sequence.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod files;
mod operation;
mod reference;
mod world;

use operation::{Operation, Setting};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_consumer_gets_what_the_model_says(setting in Setting::any(), program in vec(Operation::any(), 1..60)) {
        let mut world = World::new(setting);
        for operation in program {
            world.apply(operation);
            world.check_counts();
        }
        world.finish();
    }
}
