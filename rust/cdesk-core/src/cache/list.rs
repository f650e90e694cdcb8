//! A doubly linked list in a vector: order of use in constant time, without a pointer.
//!
//! The links stand apart from the items: moving an item touches three or four neighbours, and eight bytes of each are
//! near at hand where a whole item would have to come from memory.

/// The end of the list, in place of a link.
const NONE: u32 = u32::MAX;

/// Its items keep their place, an index, for as long as they are in it.
#[derive(Debug)]
pub(super) struct List<T> {
    items: Vec<Option<T>>,
    links: Vec<Link>,
    free: Vec<u32>,
    front: u32,
    back: u32,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

impl<T> List<T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new(), links: Vec::new(), free: Vec::new(), front: NONE, back: NONE }
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.items.get_mut(index(at))?.as_mut()
    }

    /// Puts an item in front; `None`, and no item, when there are four billion already.
    pub(super) fn push_front(&mut self, item: T) -> Option<u32> {
        let at = if let Some(at) = self.free.pop() {
            self.items[index(at)] = Some(item);
            at
        } else {
            let at = u32::try_from(self.items.len()).ok().filter(|&at| at != NONE)?;
            self.items.push(Some(item));
            self.links.push(Link { before: NONE, after: NONE });
            at
        };
        self.link_front(at);
        Some(at)
    }

    pub(super) fn move_to_front(&mut self, at: u32) {
        if self.front != at {
            self.unlink(at);
            self.link_front(at);
        }
    }

    pub(super) fn pop_back(&mut self) -> Option<T> {
        self.remove(self.back)
    }

    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        let item = self.items.get_mut(index(at))?.take()?;
        self.unlink(at);
        self.free.push(at);
        Some(item)
    }

    fn link_front(&mut self, at: u32) {
        let second = std::mem::replace(&mut self.front, at);
        self.links[index(at)] = Link { before: NONE, after: second };
        match self.links.get_mut(index(second)) {
            Some(link) => link.before = at,
            None => self.back = at,
        }
    }

    fn unlink(&mut self, at: u32) {
        let Link { before, after } = self.links[index(at)];
        match self.links.get_mut(index(before)) {
            Some(link) => link.after = after,
            None => self.front = after,
        }
        match self.links.get_mut(index(after)) {
            Some(link) => link.before = before,
            None => self.back = before,
        }
    }
}

/// `NONE` is past the end of every list.
fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}
