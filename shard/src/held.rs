//! A part of a value that somebody else may hold as it is: a snapshot's thread, or a copy.
//!
//! A part is its owner's alone as a rule, and then costs nothing beside itself: no counter is
//! touched to read or to write it. [`Held::share`] makes it common property in O(1), and whoever
//! writes to it from then on gets a copy first ([`Held::to_mut`]), unless nobody else is left who
//! holds it. So a large value made of such parts is handed over in O(parts), and what is copied
//! afterwards is what is written to.

use std::ops::Deref;
use std::sync::Arc;

/// The part. See the module's head.
#[derive(Debug)]
pub(crate) enum Held<T> {
    /// Nobody else has it.
    Own(T),
    /// Somebody else has it, or had.
    Shared(Arc<T>),
}

impl<T: Default> Default for Held<T> {
    fn default() -> Self {
        Self::Own(T::default())
    }
}

impl<T: Clone> Clone for Held<T> {
    /// O(1) where the part is shared.
    fn clone(&self) -> Self {
        match self {
            Self::Own(part) => Self::Own(part.clone()),
            Self::Shared(part) => Self::Shared(Arc::clone(part)),
        }
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Own(part) => part,
            Self::Shared(part) => part,
        }
    }
}

impl<T> Held<T> {
    /// Whether somebody else has it, or had when it was last written to.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }
}

impl<T: Clone + Default> Held<T> {
    /// The part for writing: a copy, if somebody else has it.
    #[inline]
    pub(crate) fn to_mut(&mut self) -> &mut T {
        if self.is_shared() {
            self.take_back();
        }
        match self {
            Self::Own(part) => part,
            Self::Shared(_) => unreachable!("it was taken back"),
        }
    }

    #[cold]
    fn take_back(&mut self) {
        *self = Self::Own(std::mem::take(self).into_inner());
    }

    /// The part, or a copy if somebody else has it.
    pub(crate) fn into_inner(self) -> T {
        match self {
            Self::Own(part) => part,
            Self::Shared(part) => Arc::unwrap_or_clone(part),
        }
    }

    /// Makes it common property: from now on a clone is another name for it. O(1).
    pub(crate) fn share(&mut self) -> &Arc<T> {
        if let Self::Own(part) = self {
            *self = Self::Shared(Arc::new(std::mem::take(part)));
        }
        match self {
            Self::Shared(part) => part,
            Self::Own(_) => unreachable!("it was shared just now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_gets_a_copy_while_others_have_it() {
        let mut held = Held::Own(vec![1, 2, 3]);
        let address = held.as_ptr();
        let other = Arc::clone(held.share());
        assert_eq!((held.as_ptr(), other.as_ptr()), (address, address));
        held.to_mut().push(4);
        assert_eq!((&*held, &*other), (&vec![1, 2, 3, 4], &vec![1, 2, 3]));
        assert!(!held.is_shared());
    }

    #[test]
    fn the_last_who_has_it_gets_it_as_it_is() {
        let mut held = Held::Own(vec![1]);
        let address = held.as_ptr();
        drop(Arc::clone(held.share()));
        assert_eq!(held.to_mut().as_ptr(), address);
        assert_eq!(held.into_inner(), [1]);
    }

    #[test]
    fn a_clone_of_what_is_shared_is_no_copy() {
        let mut held = Held::Own(vec![1]);
        assert_ne!(held.clone().as_ptr(), held.as_ptr());
        held.share();
        assert_eq!(held.clone().as_ptr(), held.as_ptr());
    }
}
