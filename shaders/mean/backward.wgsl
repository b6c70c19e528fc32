// mean/backward: dx[b, n, c] = dy[b, c] / N.
//
// | @ | name | access  | type       | shape |
// |---|------|---------|------------|-----------|
// | 0 | p    | uniform | Params     | |
// | 1 | dy   | read    | array<f32> | (B, C) |
// | 2 | dx   | write   | array<f32> | (B, N, C) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.groups * p.rows * p.cols {
        dx[i] = dy[i / (p.rows * p.cols) * p.cols + i % p.cols] / f32(p.rows);
    }
}
