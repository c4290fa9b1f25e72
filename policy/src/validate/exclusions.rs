//! What excludes some values and what excludes others is one filter that excludes both: however it is split, it is the same.

/// The filters, with those merged for which `merged` says how.
pub(super) fn joined<F: Ord>(filters: Vec<F>, merged: impl Fn(&F, &F) -> Option<F>) -> Vec<F> {
    let mut kept: Vec<F> = Vec::with_capacity(filters.len());
    for filter in filters {
        let found = kept.iter_mut().find_map(|one| merged(one, &filter).map(|both| (one, both)));
        match found {
            Some((one, both)) => *one = both,
            None => kept.push(filter),
        }
    }
    kept.sort_unstable();
    kept.dedup();
    kept
}
