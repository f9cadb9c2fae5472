//! depmod's order of dependencies: users first, and of those the ones that it comes to first.

use std::collections::{BTreeSet, HashSet};

/// What sorting says of each node.
#[derive(Debug)]
pub struct Sorted {
    /// Its place.
    pub rank: Vec<usize>,
    /// The nodes whose last user it was, in the order of its edges.
    pub released: Vec<Vec<usize>>,
}

/// Sorts nodes so that users come before what they use, as depmod does: with a stack of those without users. `edges`: what each
/// node uses, each once.
///
/// # Errors
/// Nodes that use each other: each uses the next one, the last one the first.
pub fn sort(edges: &[Vec<usize>]) -> Result<Sorted, Vec<usize>> {
    let mut users = vec![0_usize; edges.len()];
    for used in edges.iter().flatten() {
        users[*used] += 1;
    }
    let mut open: Vec<usize> = (0..edges.len()).filter(|node| users[*node] == 0).collect();
    let mut sorted = Sorted { rank: vec![usize::MAX; edges.len()], released: vec![Vec::new(); edges.len()] };
    let mut count = 0;
    while let Some(node) = open.pop() {
        sorted.rank[node] = count;
        count += 1;
        for &used in &edges[node] {
            users[used] -= 1;
            if users[used] == 0 {
                open.push(used);
                sorted.released[node].push(used);
            }
        }
    }
    if count == edges.len() { Ok(sorted) } else { Err(cycle(edges, &sorted.rank)) }
}

/// A cycle among the nodes without a place: each of those has a user among them.
fn cycle(edges: &[Vec<usize>], rank: &[usize]) -> Vec<usize> {
    let left: Vec<usize> = (0..edges.len()).filter(|node| rank[*node] == usize::MAX).collect();
    let mut way: Vec<usize> = left.first().copied().into_iter().collect();
    while let Some(user) = way.last().and_then(|last| left.iter().copied().find(|node| edges[*node].contains(last))) {
        if let Some(start) = way.iter().position(|node| *node == user) {
            way.drain(..start);
            break;
        }
        way.push(user);
    }
    way.reverse();
    way
}

/// All that each node uses in the end, sorted.
pub fn closures(edges: &[Vec<usize>], rank: &[usize]) -> Vec<Vec<usize>> {
    let mut nodes: Vec<usize> = (0..edges.len()).collect();
    nodes.sort_unstable_by_key(|node| rank[*node]);
    let mut closures = vec![Vec::new(); edges.len()];
    for &node in nodes.iter().rev() {
        let used = edges[node].iter().flat_map(|used| closures[*used].iter().chain(std::iter::once(used)));
        let ranks: BTreeSet<usize> = used.map(|used: &usize| rank[*used]).collect();
        closures[node] = ranks.into_iter().map(|rank| nodes[rank]).collect();
    }
    closures
}

/// The edges that closures cannot do without. They are in such an order that [`sort`] gives the closures that order again: what a
/// node releases comes from a stack.
pub fn direct(closures: &[&[usize]]) -> Vec<Vec<usize>> {
    let direct = |closure: &&[usize]| {
        let indirect: HashSet<usize> = closure.iter().flat_map(|used| closures[*used]).copied().collect();
        closure.iter().rev().copied().filter(|used| !indirect.contains(used)).collect()
    };
    closures.iter().map(direct).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_first_and_of_what_one_releases_the_last() {
        // 0 and 1 are roots; 0 uses 2 and 3, both use 4; 1 uses 3.
        let edges = [vec![2, 3], vec![3], vec![4], vec![4], vec![]];
        let sorted = sort(&edges).unwrap();
        assert_eq!(sorted.rank, [1, 0, 3, 2, 4]);
        assert_eq!(sorted.released, [vec![2, 3], vec![], vec![4], vec![], vec![]]);
        let closures = closures(&edges, &sorted.rank);
        assert_eq!(closures, [vec![3, 2, 4], vec![3, 4], vec![4], vec![4], vec![]]);
        let closures: Vec<&[usize]> = closures.iter().map(Vec::as_slice).collect();
        assert_eq!(direct(&closures), edges);
    }

    #[test]
    fn a_cycle_is_named() {
        let edges = [vec![1], vec![2], vec![3], vec![1, 4], vec![]];
        let cycle = sort(&edges).unwrap_err();
        assert_eq!(cycle.len(), 3);
        for (index, node) in cycle.iter().enumerate() {
            assert!(edges[*node].contains(&cycle[(index + 1) % 3]), "{cycle:?}");
        }
    }
}
