//! The processes that take query tags.

use cdesk_core::{Error, QueryTags, Storage};

use crate::sim::{Event, Mutant, ProcessId};
use crate::world::World;

/// What the counter is kept in; begins with `cdesk-tags 1 <key> `.
const STATE: &str = "tags.state";
/// More than the first reservation of a process has.
const MANY: usize = 1_100;

pub(crate) struct Tagger {
    process: ProcessId,
    tags: QueryTags<Mutant>,
}

impl Tagger {
    pub(crate) fn process(&self) -> ProcessId {
        self.process
    }
}

impl World {
    pub(crate) fn start_tagger(&self) -> Tagger {
        let storage = Mutant::new(self.host.start(), self.habits.bug.of_tags());
        Tagger { process: storage.process(), tags: QueryTags::with(storage) }
    }

    /// Takes a few tags, seldom many; stops at the first error.
    pub(crate) fn take_tags(&self, tagger: &Tagger) {
        let count = if self.rng().one_in(48) { MANY } else { self.rng().index(4) + 1 };
        for _ in 0..count {
            if self.take_tag(tagger).is_err() {
                return;
            }
        }
    }

    /// Takes a tag; the judge hears of it.
    pub(crate) fn take_tag(&self, tagger: &Tagger) -> Result<(), Error> {
        let process = tagger.process;
        match tagger.tags.next_tag() {
            Ok(tag) if self.is_alive(process) => {
                let key = self.tags_key();
                self.ledger().give_out(tag.text(), key);
                self.host.lock().note(|| Event::TagGiven { process });
                Ok(())
            }
            Ok(_) => Err(Error::QueueClosed { path: self.host.start_in(process).path().to_owned() }),
            Err(error) => {
                // No power loss and no fault damages what was made durable before it got its name.
                if matches!(error, Error::TagsUnreadable { .. } | Error::TagsExhausted { .. }) {
                    self.ledger().violate(error.to_string());
                }
                Err(error)
            }
        }
    }

    /// Under another key the same tag may come again, although the ids do not.
    fn tags_key(&self) -> Option<Vec<u8>> {
        let machine = self.host.lock();
        let words = machine.disk.content(STATE)?.split(|&byte| byte == b' ');
        words.into_iter().nth(2).map(<[u8]>::to_vec)
    }
}
