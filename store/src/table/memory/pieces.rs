//! A table's pieces, by number.

use super::region::Piece;
use super::{ahead, pool};

/// Pieces by number. They go back to the pool when this is dropped.
#[derive(Debug, Default)]
pub(in crate::table) struct Pieces {
    pieces: Vec<&'static mut Piece>,
    /// The numbers of those on ordinary pages, rising.
    ordinary: Vec<u32>,
}

impl Pieces {
    pub(in crate::table) fn len(&self) -> usize {
        self.pieces.len()
    }

    #[inline]
    pub(in crate::table) fn get(&self, number: usize) -> &Piece {
        self.pieces[number]
    }

    #[inline]
    pub(in crate::table) fn get_mut(&mut self, number: usize) -> &mut Piece {
        self.pieces[number]
    }

    /// Adds a piece, whose content is arbitrary, and returns it.
    pub(in crate::table) fn grow(&mut self) -> &mut Piece {
        ahead::start();
        let mut pool = pool::lock();
        let piece = pool.take().unwrap_or_else(|| {
            self.ordinary.push(self.pieces.len() as u32);
            pool.take_ordinary()
        });
        drop(pool);
        self.pieces.push(piece);
        self.pieces.last_mut().expect("a piece was added")
    }

    /// Moves a piece on ordinary pages to a huge page, if there is one for it.
    #[inline]
    pub(in crate::table) fn move_to_huge_page(&mut self) {
        if !self.ordinary.is_empty() {
            self.move_last();
        }
    }

    #[cold]
    fn move_last(&mut self) {
        let Some(huge) = pool::lock().take_to_move() else { return };
        let number = self.ordinary.pop().expect("a piece is on ordinary pages");
        let ordinary = std::mem::replace(&mut self.pieces[number as usize], huge);
        self.pieces[number as usize].copy_from_slice(ordinary);
        pool::give_back_ordinary(ordinary);
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        // From the last one on, none of them moves before its turn.
        for number in self.ordinary.drain(..).rev() {
            pool::give_back_ordinary(self.pieces.swap_remove(number as usize));
        }
        pool::lock().give_back(self.pieces.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use super::super::PIECE_BYTES;
    use super::*;

    impl Pieces {
        fn grow_on_ordinary_pages(&mut self) -> &mut Piece {
            self.ordinary.push(self.pieces.len() as u32);
            self.pieces.push(pool::lock().take_ordinary());
            self.pieces.last_mut().unwrap()
        }
    }

    #[test]
    fn pieces_are_apart_and_aligned() {
        let mut pieces = Pieces::default();
        for number in 0..100 {
            let piece = pieces.grow();
            assert_eq!(piece.as_ptr().align_offset(PIECE_BYTES), 0);
            piece.fill(number);
        }
        for number in 0..100 {
            assert!(pieces.get(number).iter().all(|byte| usize::from(*byte) == number));
        }
    }

    #[test]
    fn pieces_move_to_huge_pages_with_their_content() {
        let mut pieces = Pieces::default();
        for number in 0..100 {
            pieces.grow_on_ordinary_pages().fill(number);
            pieces.grow().fill(number);
        }
        // The thread ends only with the process, so it gets there.
        while !pieces.ordinary.is_empty() {
            pieces.move_to_huge_page();
            std::thread::yield_now();
        }
        for number in 0..200 {
            assert!(pieces.get(number).iter().all(|byte| usize::from(*byte) == number / 2));
        }
    }

    #[test]
    fn pieces_go_back_to_where_they_came_from() {
        let mut pieces = Pieces::default();
        let mut ordinary = Vec::new();
        for number in 0..30 {
            if number % 3 == 0 {
                ordinary.push(pieces.grow_on_ordinary_pages().as_ptr());
            } else {
                pieces.grow();
            }
        }
        drop(pieces);
        let pool = pool::lock();
        for piece in ordinary {
            assert!(!pool.has_on_huge_page(piece));
        }
    }
}
