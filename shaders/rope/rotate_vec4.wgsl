// rope/rotate_vec4: rope/rotate where half a head is a multiple of four: each invocation turns four pairs.
//
// | @ | name  | access  | type             | shape |
// |---|-------|---------|------------------|-------------------------------|
// | 0 | p     | uniform | Params           | |
// | 1 | rows  | read    | array<u32>       | (B, 3): length, offset, start |
// | 2 | x     | read    | array<vec4<f32>> | (B, src_rows, H, D) |
// | 3 | table | read    | array<vec4<f32>> | (B or 1, table rows, D/2): cos and sin in turn |
// | 4 | y     | write   | array<vec4<f32>> | (B, dst_rows, H, D) |
//
// grid: one invocation per four rotated pairs, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let quads = p.half / 4u;
    let per_row = p.heads * quads;
    if i >= p.batch * p.count * per_row { return; }
    let e = i % per_row;
    let t = i / per_row % p.count;
    let b = i / (per_row * p.count);
    let at = e / quads * quads * 2u + e % quads;
    let width = per_row * 2u;
    let from_row = (b * p.src_rows + p.src_start + t) * width + at;
    let start = rows[3u * b + 2u];
    let to = p.dst_start + t + select(0u, start, p.dynamic == 1u);
    let to_row = (b * p.dst_rows + to) * width + at;
    let u = x[from_row];
    let v = x[from_row + quads];
    if p.sign == 0.0 {
        y[to_row] = u;
        y[to_row + quads] = v;
    } else {
        let position = p.table_start + t + select(0u, start, p.table_by_position == 1u);
        let turn = ((b * p.table_rows + position) * quads + e % quads) * 2u;
        let low = table[turn];
        let high = table[turn + 1u];
        let c = vec4(low.xz, high.xz);
        let s = vec4(low.yw, high.yw) * p.sign;
        y[to_row] = u * c - v * s;
        y[to_row + quads] = v * c + u * s;
    }
}
