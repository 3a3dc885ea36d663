//! The lists that a prediction is made of: nearly always short, and long when many choices meet.

#[cfg(not(feature = "alloc"))]
use arrayvec::ArrayVec;
use core::ops::{Deref, DerefMut};
use core::slice;
#[cfg(feature = "alloc")]
use smallvec::SmallVec;

/// A list of at most `MAX` elements; what does not fit is left out. With the feature `alloc` it has
/// `INLINE` elements in place, and moves to the heap when there are more. Without, it has all in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundedList<T, const INLINE: usize, const MAX: usize> {
    #[cfg(feature = "alloc")]
    elements: SmallVec<[T; INLINE]>,
    #[cfg(not(feature = "alloc"))]
    elements: ArrayVec<T, MAX>,
}

impl<T, const INLINE: usize, const MAX: usize> BoundedList<T, INLINE, MAX> {
    /// An empty list.
    #[inline]
    pub fn new() -> Self {
        #[cfg(feature = "alloc")]
        let elements = SmallVec::new();
        #[cfg(not(feature = "alloc"))]
        let elements = ArrayVec::new();
        Self { elements }
    }

    /// The elements.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        &self.elements
    }

    /// The elements, to be changed.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.elements
    }

    /// Whether there is no room for another element.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.elements.len() >= MAX
    }

    /// Adds an element at the end, if there is room.
    #[inline]
    pub fn push(&mut self, element: T) {
        if !self.is_full() {
            self.elements.push(element);
        }
    }

    /// Adds an element before the one with this number, if there is room.
    ///
    /// # Panics
    /// When `number` is greater than the length.
    pub fn insert(&mut self, number: usize, element: T) {
        if !self.is_full() {
            self.elements.insert(number, element);
        }
    }

    /// Keeps the first `len` elements.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.elements.truncate(len);
    }

    /// Removes every element.
    #[inline]
    pub fn clear(&mut self) {
        self.elements.clear();
    }

    /// Keeps the elements that `is_kept` accepts.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        self.elements.retain(|element| is_kept(element));
    }
}

impl<T, const INLINE: usize, const MAX: usize> Default for BoundedList<T, INLINE, MAX> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const INLINE: usize, const MAX: usize> Deref for BoundedList<T, INLINE, MAX> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T, const INLINE: usize, const MAX: usize> DerefMut for BoundedList<T, INLINE, MAX> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        self.as_mut_slice()
    }
}

impl<T, const INLINE: usize, const MAX: usize> Extend<T> for BoundedList<T, INLINE, MAX> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        let room = MAX - self.len();
        self.elements.extend(elements.into_iter().take(room));
    }
}

impl<T, const INLINE: usize, const MAX: usize> FromIterator<T> for BoundedList<T, INLINE, MAX> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut list = Self::new();
        list.extend(elements);
        list
    }
}

impl<'l, T, const INLINE: usize, const MAX: usize> IntoIterator
    for &'l BoundedList<T, INLINE, MAX>
{
    type Item = &'l T;
    type IntoIter = slice::Iter<'l, T>;

    fn into_iter(self) -> slice::Iter<'l, T> {
        self.iter()
    }
}

impl<'l, T, const INLINE: usize, const MAX: usize> IntoIterator
    for &'l mut BoundedList<T, INLINE, MAX>
{
    type Item = &'l mut T;
    type IntoIter = slice::IterMut<'l, T>;

    fn into_iter(self) -> slice::IterMut<'l, T> {
        self.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::BoundedList;
    use crate::outcome::Prediction;

    type Few = BoundedList<u8, 2, 4>;

    /// Room for one alternative is all that it has with `alloc`.
    #[test]
    #[cfg(feature = "alloc")]
    fn a_prediction_is_small() {
        assert!(size_of::<Prediction>() <= 512, "{}", size_of::<Prediction>());
    }

    /// Two elements are in place, four fit.
    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut list: Few = (1..=3).collect();
        assert!(!list.is_full());
        list.insert(0, 0);
        assert!(list.is_full());

        list.push(9);
        list.insert(0, 9);
        list.extend([9, 9]);
        assert_eq!(*list, [0, 1, 2, 3]);
        assert_eq!((0..10).collect::<Few>(), list);

        list.retain(|element| element % 2 == 1);
        assert_eq!(*list, [1, 3]);
        list.truncate(1);
        for element in &mut list {
            *element += 1;
        }
        assert_eq!(list.iter().sum::<u8>(), 2);
        list.clear();
        assert_eq!(list, Few::default());
    }
}
