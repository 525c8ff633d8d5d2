//! For tests of what must not depend on how a stream is cut into pieces.

/// Call `check` with `whole` in every number of pieces that are not empty, cut in every way.
pub fn every_cut<'a>(whole: &'a [u8], mut check: impl FnMut(&[&'a [u8]])) {
    let gaps = whole.len().saturating_sub(1);
    let mut pieces = Vec::with_capacity(whole.len());
    for cuts in 0..1u32 << gaps {
        pieces.clear();
        let mut start = 0;
        for end in (1..whole.len()).filter(|end| cuts >> (end - 1) & 1 == 1) {
            pieces.push(&whole[start..end]);
            start = end;
        }
        pieces.push(&whole[start..]);
        check(&pieces);
    }
}
