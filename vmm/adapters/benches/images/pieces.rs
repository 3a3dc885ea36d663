//! What a walker says that an address space has, and a comparison of it with what there is.

/// Addresses next to each other that lead to physical addresses next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) physical: u64,
    pub(crate) rights: PieceRights,
}

/// What may be done there, as far as a walker says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PieceRights {
    pub(crate) writable: Option<bool>,
    pub(crate) user: Option<bool>,
    pub(crate) executable: Option<bool>,
}

impl PieceRights {
    /// Whether another walker says the same about what both speak of.
    fn agree_with(self, other: Self) -> bool {
        let agree = |one: Option<bool>, other: Option<bool>| {
            one.zip(other).is_none_or(|(one, other)| one == other)
        };
        agree(self.writable, other.writable)
            && agree(self.user, other.user)
            && agree(self.executable, other.executable)
    }
}

/// How many pages a walker is right and wrong about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    pub(crate) right: u64,
    pub(crate) wrong_address: u64,
    pub(crate) wrong_rights: u64,
    /// The walker has not the whole page.
    pub(crate) missing: u64,
    /// Pieces where there is no page at all.
    pub(crate) bogus: u64,
}

/// Compares a walker's pieces with the pages that there are, both in the order of addresses.
pub(crate) fn score(pages: &[Piece], pieces: &[Piece]) -> Score {
    let mut score = Score::default();
    for page in pages {
        match page_in(page, pieces) {
            Found::Right => score.right += 1,
            Found::WrongAddress => score.wrong_address += 1,
            Found::WrongRights => score.wrong_rights += 1,
            Found::Missing => score.missing += 1,
        }
    }

    let is_bogus = |piece: &&Piece| {
        let next = pages.partition_point(|page| page.last < piece.first);
        pages.get(next).is_none_or(|page| page.first > piece.last)
    };
    score.bogus = pieces.iter().filter(is_bogus).count() as u64;
    score
}

enum Found {
    Right,
    WrongAddress,
    WrongRights,
    Missing,
}

/// What a walker says about a page, which it may have in several pieces.
fn page_in(page: &Piece, pieces: &[Piece]) -> Found {
    let mut found = Found::Right;
    let mut at = page.first;
    loop {
        let next = pieces.partition_point(|piece| piece.last < at);
        let Some(piece) = pieces.get(next).filter(|piece| piece.first <= at) else {
            return Found::Missing;
        };

        let physical = page.physical + (at - page.first);
        if piece.physical.wrapping_add(at - piece.first) != physical {
            return Found::WrongAddress;
        }
        if !piece.rights.agree_with(page.rights) {
            found = Found::WrongRights;
        }
        if piece.last >= page.last {
            return found;
        }
        at = piece.last + 1;
    }
}
