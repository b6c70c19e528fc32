// splice/join: puts image rows into a sequence of text rows at the offset of each sample (blank: zeros instead).
//
//   y[b, s] = text[b, s] for s < o_b;  image[b, s - o_b] for o_b <= s < o_b + N;  text[b, s - N] after
//
// | @ | name  | access  | type       | shape |
// |---|-------|---------|------------|-------------------------------|
// | 0 | p     | uniform | Params     | |
// | 1 | rows  | read    | array<u32> | (B, 3): length, offset, start |
// | 2 | text  | read    | array<f32> | (B, T, C) |
// | 3 | image | read    | array<f32> | (B, N, C) |
// | 4 | y     | write   | array<f32> | (B, T + N, C) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> text: array<f32>;
@group(0) @binding(3) var<storage, read> image: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let total = p.text + p.image;
    if i < p.batch * total * p.cols {
        let c = i % p.cols;
        let s = i / p.cols % total;
        let b = i / (p.cols * total);
        let o = rows[3u * b + 1u];
        if s >= o && s < o + p.image {
            y[i] = select(image[(b * p.image + min(s - o, p.image - 1u)) * p.cols + c], 0.0, p.blank == 1u);
        } else {
            let t = select(s, s - p.image, s >= o);
            y[i] = text[(b * p.text + t) * p.cols + c];
        }
    }
}
