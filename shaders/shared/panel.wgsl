// Packed matrices (N, K): panels of 32 rows; in a panel, unit c (16 bytes of one row) of all 32 rows, then unit c + 1. Rows are padded
// with zeros to a multiple of 64 values, so that invocations with neighbouring rows read neighbouring units. Scales: one
// f16 per row and 32 values, two neighbouring ones in a word, in panels alike.

const PANEL: u32 = 32u;

// Where row n of a view is stored: a view takes every step-th panel.
fn stored_row(n: u32, start: u32, step: u32) -> u32 {
    return start + n / PANEL * PANEL * step + n % PANEL;
}

// Index of unit c of a stored row.
fn unit_of(row: u32, c: u32, units: u32) -> u32 {
    return (row / PANEL * units + c) * PANEL + row % PANEL;
}

// Index of the word with the scales of values 64 j .. 64 j + 63 of a stored row of `blocks` times 64 values.
fn scales_of(row: u32, j: u32, blocks: u32) -> u32 {
    return (row / PANEL * blocks + j) * PANEL + row % PANEL;
}
