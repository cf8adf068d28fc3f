//! Columns as runc aligns them, with Go's `text/tabwriter`: at least 12 wide, at least 3 blanks between two.

const LEAST_WIDTH: usize = 12;
const GAP: usize = 3;

/// Lays out rows of the same number of cells; the last column is not padded.
pub(super) fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max();
        LEAST_WIDTH.max(longest.unwrap_or(0) + GAP)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < N {
                let blanks = widths[column] - cell.chars().count();
                text.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_twelve_characters_or_three_more_than_their_longest_cell() {
        let rows = [
            ["ID", "PID", "OWNER"].map(String::from),
            ["a-longer-name", "1", "root"].map(String::from),
        ];
        assert_eq!(
            align(&rows),
            "ID              PID         OWNER\na-longer-name   1           root\n"
        );
    }
}
