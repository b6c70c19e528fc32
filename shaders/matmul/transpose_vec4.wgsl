// matmul/transpose_vec4: matmul/transpose where both sides are multiples of four: each invocation turns a block of 4 x 4.
//
// | @ | name | access  | type             | shape  |
// |---|------|---------|------------------|--------|
// | 0 | p    | uniform | Params           |        |
// | 1 | a    | read    | array<vec4<f32>> | (M, N) |
// | 2 | y    | write   | array<vec4<f32>> | (N, M) |
//
// grid: one invocation per block, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let down = p.m / 4u;
    let across = p.n / 4u;
    if i >= down * across { return; }
    // Neighbours write beside each other.
    let row = i % down;
    let col = i / down;
    let from_row = row * 4u * across + col;
    let block = transpose(mat4x4(a[from_row], a[from_row + across], a[from_row + 2u * across], a[from_row + 3u * across]));
    let to = col * 4u * down + row;
    y[to] = block[0];
    y[to + down] = block[1];
    y[to + 2u * down] = block[2];
    y[to + 3u * down] = block[3];
}
