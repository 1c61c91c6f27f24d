//! Bytes that only grow at their end and are shared by all who hold an earlier state of them.

use bytes::{Bytes, BytesMut};

/// Appending copies nothing that is old and large: a page is joined to the one before it only while that one is less than
/// twice as long, so there are never more than some twenty pages, and a byte is copied at most as many times.
#[derive(Clone, Default)]
pub(super) struct Pages {
    pages: Vec<Bytes>,
    size_bytes: usize,
}

impl Pages {
    pub(super) fn push(&mut self, page: Vec<u8>) {
        if page.is_empty() {
            return;
        }
        self.size_bytes += page.len();
        let mut page = Bytes::from(page);
        while let Some(before) = self.pages.pop_if(|before| before.len() < 2 * page.len()) {
            let mut joined = BytesMut::with_capacity(before.len() + page.len());
            joined.extend_from_slice(&before);
            joined.extend_from_slice(&page);
            page = joined.freeze();
        }
        self.pages.push(page);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pages.iter().map(|page| &**page)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_few_and_keep_every_byte() {
        let mut pages = Pages::default();
        let mut plain = Vec::new();
        for round in 0..2000usize {
            let page = vec![round as u8; round * 7 % 300];
            plain.extend_from_slice(&page);
            pages.push(page);
            assert!(pages.pages.len() <= 20, "{} pages", pages.pages.len());
        }
        assert_eq!(pages.iter().collect::<Vec<_>>().concat(), plain);
        assert_eq!(pages.size_bytes(), plain.len());
    }

    #[test]
    fn who_holds_an_earlier_state_sees_no_change() {
        let mut pages = Pages::default();
        pages.push(b"one".to_vec());
        let earlier = pages.clone();
        pages.push(b"two".to_vec());
        assert_eq!(earlier.iter().collect::<Vec<_>>().concat(), b"one");
    }
}
