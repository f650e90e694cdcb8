//! A doubly linked list in a vector: order of use in constant time, without a pointer.

/// Its items keep their place, an index, for as long as they are in it.
#[derive(Debug)]
pub(super) struct List<T> {
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
    front: Option<usize>,
    back: Option<usize>,
}

#[derive(Debug)]
struct Slot<T> {
    item: Option<T>,
    before: Option<usize>,
    after: Option<usize>,
}

impl<T> List<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), front: None, back: None }
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.slots.get_mut(at)?.item.as_mut()
    }

    pub(super) fn push_front(&mut self, item: T) -> usize {
        let slot = Slot { item: Some(item), before: None, after: None };
        let at = if let Some(at) = self.free.pop() {
            self.slots[at] = slot;
            at
        } else {
            self.slots.push(slot);
            self.slots.len() - 1
        };
        self.link_front(at);
        at
    }

    pub(super) fn move_to_front(&mut self, at: usize) {
        if self.front != Some(at) {
            self.unlink(at);
            self.link_front(at);
        }
    }

    pub(super) fn pop_back(&mut self) -> Option<T> {
        self.back.and_then(|at| self.remove(at))
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<T> {
        let item = self.slots.get_mut(at)?.item.take()?;
        self.unlink(at);
        self.free.push(at);
        Some(item)
    }

    fn link_front(&mut self, at: usize) {
        let second = self.front.replace(at);
        self.slots[at].before = None;
        self.slots[at].after = second;
        match second {
            Some(second) => self.slots[second].before = Some(at),
            None => self.back = Some(at),
        }
    }

    fn unlink(&mut self, at: usize) {
        let (before, after) = (self.slots[at].before, self.slots[at].after);
        match before {
            Some(before) => self.slots[before].after = after,
            None => self.front = after,
        }
        match after {
            Some(after) => self.slots[after].before = before,
            None => self.back = before,
        }
    }
}
