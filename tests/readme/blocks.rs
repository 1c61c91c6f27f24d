//! The fenced blocks of the README, in its order.

/// What stands between two fences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// After the opening fence: `sh`, `text`, `python`, `json`.
    pub(super) language: String,
    pub(super) body: String,
    /// The line of its opening fence, from 1.
    pub(super) line: usize,
    /// Only blank lines stand between it and the block before.
    pub(super) follows: bool,
}

/// All of them. A fence without a language, or without an end, fails the test.
pub(super) fn blocks(readme: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    let mut follows = false;
    for (number, line) in readme.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                assert!(!language.is_empty(), "README.md, line {}: a fence without a language", number + 1);
                open = Some(Block { language: language.into(), body: String::new(), line: number + 1, follows });
            }
            (Some(_), Some(_)) => {
                found.extend(open.take());
                follows = true;
            }
            (None, Some(block)) => {
                block.body.push_str(line);
                block.body.push('\n');
            }
            (None, None) => follows &= line.is_empty(),
        }
    }
    assert_eq!(open, None, "README.md ends within a block");
    found
}

/// What a block looks like in the file.
pub(super) fn fenced(language: &str, body: &str) -> String {
    format!("```{language}\n{body}```\n")
}

#[test]
fn blocks_are_found_with_what_they_follow() {
    let found = blocks("a\n```sh\nx\n```\n\n```text\ny\n```\nb\n```text\n```\n");
    let seen: Vec<_> = found.iter().map(|b| (b.language.as_str(), b.body.as_str(), b.line, b.follows)).collect();
    assert_eq!(seen, [("sh", "x\n", 2, false), ("text", "y\n", 6, true), ("text", "", 10, false)]);
}
