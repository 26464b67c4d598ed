//! What a server does next: acts given once, in order, before the one that always holds.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub(super) struct Script<K, A> {
    acts: Mutex<Acts<K, A>>,
}

struct Acts<K, A> {
    once: HashMap<K, VecDeque<A>>,
    always: HashMap<K, A>,
}

impl<K: Eq + Hash, A: Clone> Script<K, A> {
    pub(super) fn new() -> Self {
        Self {
            acts: Mutex::new(Acts {
                once: HashMap::new(),
                always: HashMap::new(),
            }),
        }
    }

    pub(super) fn once(&self, key: K, act: A) {
        self.lock().once.entry(key).or_default().push_back(act);
    }

    pub(super) fn always(&self, key: K, act: A) {
        self.lock().always.insert(key, act);
    }

    pub(super) fn clear(&self) {
        let mut acts = self.lock();
        acts.once.clear();
        acts.always.clear();
    }

    pub(super) fn next(&self, key: &K) -> Option<A> {
        let mut acts = self.lock();
        let once = acts.once.get_mut(key).and_then(VecDeque::pop_front);
        once.or_else(|| acts.always.get(key).cloned())
    }

    fn lock(&self) -> MutexGuard<'_, Acts<K, A>> {
        self.acts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
