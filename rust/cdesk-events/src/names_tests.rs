use std::collections::HashSet;

use proptest::prelude::*;

use super::{malformed, nearest};
use crate::Rules;

proptest! {
    #[test]
    fn which_name_is_nearest_does_not_depend_on_the_order_in_which_they_are_known(
        known in prop::collection::hash_set("cdesk\\.a[ab]{1,3}", 1..12).prop_map(Vec::from_iter).prop_shuffle(),
        name in "[aAbB_]{1,5}",
    ) {
        let mut sorted = known.clone();
        sorted.sort_unstable();
        let of = |known: &[String]| nearest(&name, known.iter().map(String::as_str)).map(str::to_owned);
        prop_assert_eq!(of(&known), of(&sorted));
    }
}

#[test]
fn every_process_means_the_same_name_though_two_are_as_near() {
    let told: HashSet<String> = (0..64)
        .map(|_| {
            let known = ["cdesk.file_read", "cdesk.file_real", "cdesk.file_reap"];
            let known = known.map(|name| (name.to_owned(), Vec::new().into_iter().collect()));
            let line = br#"{"activity_id":"","activity":"cdesk.file_rea","customer":"","ts":"2026-11-21T08:00:00Z"}"#;
            Rules::new(known.into_iter().collect()).read(line).expect_err("no id").to_string()
        })
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn what_stands_behind_a_hundred_characters_is_not_looked_at_for_what_was_meant() {
    for behind in [1, 1_000, 1_000_000] {
        let name = format!("UserAsked{}{}", " ".repeat(91), "x".repeat(behind));
        let told = malformed(Some(&name), std::iter::once("cdesk.user_asked")).to_string();
        assert!(told.ends_with("; did you mean 'cdesk.user_asked'?"), "{behind}: {told}");
    }
}
