//! Rows of cells, one below the other.

/// A line for each row, its cells in columns.
pub(super) fn table<const COLUMNS: usize>(rows: impl IntoIterator<Item = [String; COLUMNS]>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The beginning of a text, as a cell has room for it, without what would move the cursor.
pub(super) fn line(text: &str) -> String {
    const MOST: usize = 60;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let cut = if text.chars().count() > MOST { "…" } else { "" };
    text.chars().take(MOST).map(plain).chain(cut.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_one_line() {
        assert_eq!(line("one\ntwo\u{1b}[31m"), "one two [31m");
        assert_eq!(line(&"x".repeat(61)), format!("{}…", "x".repeat(60)));
    }
}
