//! Lists: a text of packed elements in the entry while it is small, a [`List`] outside otherwise.

use std::ops::ControlFlow;

use crate::list::{Direction, End, List, ListLimits, Removal, small};

/// A look at a list.
#[derive(Clone, Copy)]
pub struct ListRef<'a> {
    form: Form<'a>,
}

#[derive(Clone, Copy)]
enum Form<'a> {
    Small(&'a [u8]),
    Large(&'a List),
}

impl<'a> ListRef<'a> {
    /// Of a text.
    pub(crate) fn small(text: &'a [u8]) -> Self {
        Self { form: Form::Small(text) }
    }

    /// Of a list.
    pub(crate) fn large(list: &'a List) -> Self {
        Self { form: Form::Large(list) }
    }

    /// Elements. O(1) for large lists.
    pub fn len(&self) -> usize {
        match self.form {
            Form::Small(text) => small::len(text),
            Form::Large(list) => list.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        match self.form {
            Form::Small(text) => text.is_empty(),
            Form::Large(list) => list.is_empty(),
        }
    }

    /// The list behind it, where it is a large one.
    pub fn as_large(&self) -> Option<&'a List> {
        match self.form {
            Form::Small(_) => None,
            Form::Large(list) => Some(list),
        }
    }

    /// Shows the element at `index` to `use_element`; `None` when there is none.
    pub fn get<R>(&self, index: usize, use_element: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match self.form {
            Form::Small(text) => small::get(text, index).map(use_element),
            Form::Large(list) => list.get(index, use_element),
        }
    }

    /// Shows the elements from `index` on to `visitor`, until it breaks or the list ends. O(1) an
    /// element, after what it takes to find the first.
    pub fn visit(
        &self,
        index: usize,
        direction: Direction,
        visitor: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) {
        match self.form {
            Form::Small(text) => small::visit(text, index, direction, visitor),
            Form::Large(list) => list.visit(index, direction, visitor),
        }
    }

    /// Shows the `count` elements from `index` on, or as many as there are, to `visitor`.
    pub fn range(&self, index: usize, count: usize, mut visitor: impl FnMut(&[u8])) {
        match self.form {
            Form::Small(text) => {
                let mut left = count;
                small::visit(text, index, Direction::Forward, |element| {
                    if left == 0 {
                        return ControlFlow::Break(());
                    }
                    left -= 1;
                    visitor(element);
                    ControlFlow::Continue(())
                });
            }
            Form::Large(list) => list.range(index, count, visitor),
        }
    }
}

enum FormMut<'a> {
    /// A text, which is the list.
    Small(&'a mut Vec<u8>),
    /// A list that was made of the text, for what is not worth doing to a text.
    Made(List),
    Large(&'a mut List),
}

/// A list that is being changed.
pub struct ListMut<'a> {
    form: FormMut<'a>,
    limits: ListLimits,
    changed: bool,
    /// At most two: a list may be both ends of a move.
    events: [Option<&'static str>; 2],
    /// What was cut off and takes long to free.
    cut: Vec<List>,
}

impl<'a> ListMut<'a> {
    fn new(form: FormMut<'a>, limits: ListLimits) -> Self {
        Self { form, limits, changed: false, events: [None; 2], cut: Vec::new() }
    }

    /// A look at it.
    pub fn view(&self) -> ListRef<'_> {
        let form = match &self.form {
            FormMut::Small(text) => Form::Small(text),
            FormMut::Made(list) => Form::Large(list),
            FormMut::Large(list) => Form::Large(list),
        };
        ListRef { form }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there is no element: there is no such key, or will not be.
    pub fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    /// Records an event of this name once the change is done, before the key goes with its last
    /// element. Two at most.
    pub fn event(&mut self, name: &'static str) {
        let free = self.events.iter_mut().find(|event| event.is_none());
        *free.expect("invariant: a command has two events at most") = Some(name);
    }

    /// Adds an element at an end. O(1) amortised.
    #[inline]
    pub fn push(&mut self, end: End, element: &[u8]) {
        self.changed = true;
        if let FormMut::Small(text) = &mut self.form
            && small::accepts(text, element, self.limits)
        {
            small::push(text, end, element);
            return;
        }
        let limits = self.limits;
        self.list().push(end, element, limits);
    }

    /// Takes an element from an end and shows it to `use_element`; `None` when there is none. O(1)
    /// amortised.
    #[inline]
    pub fn pop<R>(&mut self, end: End, use_element: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let popped = match &mut self.form {
            FormMut::Small(text) => small::pop(text, end, use_element),
            FormMut::Made(list) => list.pop(end, self.limits, use_element),
            FormMut::Large(list) => list.pop(end, self.limits, use_element),
        };
        self.changed |= popped.is_some();
        popped
    }

    /// Replaces the element at `index`; false when there is none. O(block).
    pub fn set(&mut self, index: usize, element: &[u8]) -> bool {
        let limits = self.limits;
        let is_set = self.list().set(index, element, limits);
        self.changed |= is_set;
        is_set
    }

    /// Puts an element before the one at `index`, or at the end when `index` is the length. Panics
    /// beyond that. O(block).
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        self.changed = true;
        let limits = self.limits;
        self.list().insert(index, element, limits);
    }

    /// Removes up to `count` elements equal to `value`, the first ones in that direction; how many.
    /// O(elements).
    pub fn remove(&mut self, value: &[u8], count: usize, direction: Direction) -> usize {
        let limits = self.limits;
        let removed = self.list().remove(value, count, direction, limits);
        self.changed |= removed > 0;
        removed
    }

    /// Removes elements by value in parts of at most so many blocks; whether there is more to look
    /// at. Nothing else may change the list between two parts.
    pub fn remove_part(&mut self, value: &[u8], removal: &mut Removal, blocks: usize) -> bool {
        let limits = self.limits;
        let before = removal.removed();
        let goes_on = self.list().remove_part(value, removal, blocks, limits);
        self.changed |= removal.removed() > before;
        goes_on
    }

    /// Removes `count` elements, or all, from an end. O(count / 50 000 + block): what they held is
    /// freed later where it is much.
    pub fn cut(&mut self, end: End, count: usize) {
        if count > 0 {
            self.changed = true;
            let limits = self.limits;
            let cut = self.list().take(end, count, limits);
            self.cut.push(cut);
        }
    }

    /// The list, made of the text if it is one.
    fn list(&mut self) -> &mut List {
        if let FormMut::Small(text) = &self.form {
            self.form = FormMut::Made(List::from_text(text, self.limits));
        }
        match &mut self.form {
            FormMut::Made(list) => list,
            FormMut::Large(list) => list,
            FormMut::Small(_) => unreachable!("it was made a list"),
        }
    }
}

/// What a change leaves for the shard to do.
pub(crate) struct Done {
    pub(crate) changed: bool,
    pub(crate) is_empty: bool,
    pub(crate) events: [Option<&'static str>; 2],
    pub(crate) cut: Vec<List>,
}

/// Changes a large list.
#[inline]
pub(crate) fn change_large<R>(
    list: &mut List,
    limits: ListLimits,
    change: impl FnOnce(&mut ListMut<'_>) -> R,
) -> (R, Done) {
    let mut open = ListMut::new(FormMut::Large(list), limits);
    let result = change(&mut open);
    let is_empty = open.is_empty();
    let ListMut { changed, events, cut, .. } = open;
    (result, Done { changed, is_empty, events, cut })
}

/// Changes a list that is a text, which may become empty; the list that it becomes instead when it
/// is not small any more.
pub(crate) fn change_small<R>(
    text: &mut Vec<u8>,
    limits: ListLimits,
    change: impl FnOnce(&mut ListMut<'_>) -> R,
) -> (R, Done, Option<List>) {
    let mut open = ListMut::new(FormMut::Small(text), limits);
    let result = change(&mut open);
    let is_empty = open.is_empty();
    let ListMut { form, changed, events, cut, .. } = open;
    let done = Done { changed, is_empty, events, cut };
    let FormMut::Made(made) = form else { return (result, done, None) };
    match made.small_text() {
        Some(small) => {
            text.clear();
            text.extend_from_slice(small);
        }
        None if is_empty => text.clear(),
        None => return (result, done, Some(made)),
    }
    (result, done, None)
}
