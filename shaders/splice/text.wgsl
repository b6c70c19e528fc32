// splice/text: the text rows of a joined sequence.   y[b, t] = x[b, t if t < o_b else t + N]
//
// | @ | name | access  | type       | shape |
// |---|------|---------|------------|-------------------------------|
// | 0 | p    | uniform | Params     | |
// | 1 | rows | read    | array<u32> | (B, 3): length, offset, start |
// | 2 | x    | read    | array<f32> | (B, T + N, C) |
// | 3 | y    | write   | array<f32> | (B, T, C) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.batch * p.text * p.cols {
        let t = i / p.cols % p.text;
        let b = i / (p.cols * p.text);
        let s = select(t, t + p.image, t >= rows[3u * b + 1u]);
        y[i] = x[(b * (p.text + p.image) + s) * p.cols + i % p.cols];
    }
}
