// matmul/transpose: y = aᵀ, for variants that want the other order. Each invocation turns eight neighbours of a row, so that
// reads share cache lines and writes of neighbouring lanes are neighbours.
//
// | @ | name | access  | type       | shape  |
// |---|------|---------|------------|--------|
// | 0 | p    | uniform | Params     |        |
// | 1 | a    | read    | array<f32> | (M, N) |
// | 2 | y    | write   | array<f32> | (N, M) |
//
// grid: (ceil(M / WG), ceil(N / 8)).   overrides: WG
#import params

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x * WG + lane;
    let end = min(group.y * 8u + 8u, p.n);
    if row < p.m {
        for (var col = group.y * 8u; col < end; col++) {
            y[col * p.m + row] = a[row * p.n + col];
        }
    }
}
