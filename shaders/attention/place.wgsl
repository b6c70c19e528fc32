// Where rows stand, in one place: of tensors (B, rows, heads, D) as vec4s, and of the tiles of WG rows that workgroups take.

override WG: u32 = 64u;
override D4: u32 = 4u;
// Widest head: 128.
const D4MAX = 32;

// First vec4 of query t of a head: q, y and their gradients.
fn query_at(b: u32, t: u32, head: u32) -> u32 {
    return ((b * p.queries + t) * p.heads + head) * D4;
}

// First vec4 of key j of a key-value head: key, value and their gradients.
fn key_at(b: u32, j: u32, g: u32) -> u32 {
    return ((b * (p.text + p.image) + j) * p.groups + g) * D4;
}

// Key-value head of a query head.
fn group_of(head: u32) -> u32 {
    return head / (p.heads / p.groups);
}

// One row of a tile: the last of its head again where there are no more, and then not real.
struct Place { b: u32, head: u32, first: u32, row: u32, real: bool }

// Of `rows` rows of `heads` heads per sample, the one of a lane of tile number `tile`.
fn place_of(tile: u32, lane: u32, rows: u32, heads: u32) -> Place {
    let tiles = (rows + WG - 1u) / WG;
    let b = tile / (tiles * heads);
    let first = tile % tiles * WG;
    return Place(min(b, p.batch - 1u), tile / tiles % heads, first, min(first + lane, rows - 1u), b < p.batch && first + lane < rows);
}
