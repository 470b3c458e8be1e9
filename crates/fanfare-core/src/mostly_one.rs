//! A list that usually has one item.

use std::{mem, slice};

/// A list that allocates only for two items or more. Maps have one for each user and each channel.
#[derive(Debug, Default)]
pub(crate) enum MostlyOne<T> {
    #[default]
    None,
    One(T),
    #[allow(clippy::box_collection, reason = "most lists would pay for its size")]
    Several(Box<Vec<T>>),
}

impl<T: Copy> MostlyOne<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(item) => slice::from_ref(item),
            Self::Several(list) => list,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::None => &mut [],
            Self::One(item) => slice::from_mut(item),
            Self::Several(list) => list,
        }
    }

    pub(crate) fn push(&mut self, item: T) {
        *self = match mem::take(self) {
            Self::None => Self::One(item),
            Self::One(first) => Self::Several(Box::new(vec![first, item])),
            Self::Several(mut list) => {
                list.push(item);
                Self::Several(list)
            }
        };
    }

    /// Removes the item at the index `at`, which must exist. The others keep their order.
    pub(crate) fn remove(&mut self, at: usize) {
        let mut list = self.as_slice().to_vec();
        list.remove(at);
        *self = list.into();
    }
}

impl<T: Copy> From<Vec<T>> for MostlyOne<T> {
    fn from(list: Vec<T>) -> Self {
        match list[..] {
            [] => Self::None,
            [item] => Self::One(item),
            _ => Self::Several(Box::new(list)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_item_needs_no_allocation() {
        assert_eq!(size_of::<MostlyOne<[u32; 2]>>(), 16);
        let mut list = MostlyOne::default();
        assert!(list.as_slice().is_empty());
        for item in 1..=3 {
            list.push(item);
        }
        assert_eq!(list.as_mut_slice(), [1, 2, 3]);
        list.remove(1);
        assert_eq!(list.as_slice(), [1, 3]);
        list.remove(0);
        assert!(matches!(list, MostlyOne::One(3)));
        list.remove(0);
        assert!(matches!(list, MostlyOne::None));
    }
}
