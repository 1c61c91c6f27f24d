//! Draws a tree of versions. A line of versions stays in its column however long it is; only a branch moves to the right.
//! The newest branch goes on in the column of its parent, the older ones stand beside it.

use std::collections::HashMap;

/// A version, as the drawing needs it.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) parent_id: String,
    /// What was asked, in a few words.
    pub(super) label: String,
    /// What is to be said about it, such as "head".
    pub(super) marks: Vec<&'static str>,
    /// It is the version that the next turn runs on.
    pub(super) current: bool,
}

/// The drawing, a line for each version, numbered from 1 in the order given: parents before children.
pub(super) fn draw(nodes: &[Node]) -> String {
    let children = children(nodes);
    let number_width = nodes.len().to_string().len();
    // Drawn next is what stands last. A stack and not recursion: a line may have ten thousand versions.
    let mut stack: Vec<Place> = children.roots.iter().rev().map(|index| Place::root(*index)).collect();
    let mut drawing = String::new();
    while let Some(place) = stack.pop() {
        drawing.push_str(&row(&place, &nodes[place.index], number_width));
        let Some((newest, older)) = children.of[place.index].split_last() else { continue };
        stack.push(Place { index: *newest, lead: place.below.clone(), below: place.below.clone() });
        stack.extend(older.iter().rev().map(|index| Place::beside(*index, &place.below)));
    }
    drawing
}

/// Where a version is drawn: what stands before it, and before those that follow it.
struct Place {
    index: usize,
    lead: String,
    below: String,
}

impl Place {
    fn root(index: usize) -> Place {
        Place { index, lead: String::new(), below: String::new() }
    }

    fn beside(index: usize, column: &str) -> Place {
        Place { index, lead: format!("{column}├─"), below: format!("{column}│ ") }
    }
}

struct Children {
    roots: Vec<usize>,
    of: Vec<Vec<usize>>,
}

fn children(nodes: &[Node]) -> Children {
    let index: HashMap<&str, usize> = nodes.iter().enumerate().map(|(i, node)| (node.id.as_str(), i)).collect();
    let mut children = Children { roots: Vec::new(), of: vec![Vec::new(); nodes.len()] };
    for (i, node) in nodes.iter().enumerate() {
        match index.get(node.parent_id.as_str()) {
            // Parents come before their children; what claims otherwise must not make a circle.
            Some(parent) if *parent < i => children.of[*parent].push(i),
            _ => children.roots.push(i),
        }
    }
    children
}

fn row(place: &Place, node: &Node, number_width: usize) -> String {
    let bullet = if node.current { '●' } else { '○' };
    let marks: String = node.marks.iter().map(|mark| format!(" · {mark}")).collect();
    format!("{}{bullet} {:>number_width$}  {}{marks}\n", place.lead, place.index + 1, node.label)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version for each parent's number; 0: none. The last one is the current one.
    fn tree(parents: &[usize]) -> String {
        let name = |number: usize| if number == 0 { String::new() } else { format!("v{number}") };
        let nodes: Vec<Node> = parents
            .iter()
            .enumerate()
            .map(|(i, parent)| Node {
                id: name(i + 1),
                parent_id: name(*parent),
                label: format!("question {}", i + 1),
                marks: if parents.contains(&(i + 1)) { vec![] } else { vec!["head"] },
                current: i + 1 == parents.len(),
            })
            .collect();
        draw(&nodes)
    }

    #[test]
    fn a_line_stays_in_its_column() {
        let drawing = tree(&[0, 1, 2]);
        assert_eq!(drawing, "○ 1  question 1\n○ 2  question 2\n● 3  question 3 · head\n");
    }

    #[test]
    fn branches_stand_beside_the_newest_line() {
        let golden = "\
○  1  question 1
○  2  question 2
├─○  3  question 3
│ ├─○  4  question 4
│ │ ○  6  question 6 · head
│ ○  5  question 5 · head
├─○  7  question 7
│ ○  8  question 8
│ ○  9  question 9 · head
● 10  question 10 · head
";
        assert_eq!(tree(&[0, 1, 2, 3, 3, 4, 2, 7, 8, 2]), golden);
    }

    #[test]
    fn a_long_line_and_a_wide_fork_are_drawn() {
        let line: Vec<usize> = (0..2_000).collect();
        assert_eq!(tree(&line).lines().count(), 2_000);
        let fork: Vec<usize> = (0..1_000).map(|i| usize::from(i > 0)).collect();
        assert_eq!(tree(&fork).lines().filter(|line| line.starts_with("├─○")).count(), 998);
    }

    #[test]
    fn what_has_no_parent_here_is_a_root() {
        assert_eq!(tree(&[7, 2]), "○ 1  question 1 · head\n● 2  question 2\n");
    }
}
