//! Columns that line up; everything in them escaped.

use crate::model::text::escape_control;

/// A table with a heading and left-aligned columns.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        Table { rows: vec![heading.iter().map(|text| (*text).to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| escape_control(cell).into_owned()).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The lines, without a final newline.
    pub(super) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |i: usize| self.rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|i| width(i).unwrap_or(0)).collect();
        let aligned = |row: &Vec<String>| {
            let cells: Vec<String> =
                row.iter().enumerate().map(|(i, cell)| format!("{cell:<width$}", width = widths[i])).collect();
            cells.join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(aligned).collect::<Vec<_>>().join("\n")
    }
}
