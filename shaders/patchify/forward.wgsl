// patchify/forward: im2col of non-overlapping patches, in the element order of a convolution weight (channel, y, x).
//
//   y[b, (i, j), (c, u, v)] = pixels[b, c, i P + u, j P + v]
//
// | @ | name   | access  | type       | shape |
// |---|--------|---------|------------|---------------------------|
// | 0 | p      | uniform | Params     | |
// | 1 | pixels | read    | array<f32> | (B, channels, size, size) |
// | 2 | y      | write   | array<f32> | (B, N, channels P P) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> pixels: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let grid = p.size / p.side;
    let area = p.side * p.side;
    let width = p.channels * area;
    if i < p.images * grid * grid * width {
        let e = i % width;
        let cell = i / width % (grid * grid);
        let b = i / (width * grid * grid);
        let row = cell / grid * p.side + e % area / p.side;
        let col = cell % grid * p.side + e % p.side;
        y[i] = pixels[((b * p.channels + e / area) * p.size + row) * p.size + col];
    }
}
