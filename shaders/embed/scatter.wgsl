// embed/scatter: gradient of embed/gather without atomics. The host sorts positions by id: segment s is one id and
// the range start .. end of `order` that has it; unused segments are empty.
//
//   dtable[id_s, c] += sum over i in start_s .. end_s of dy[order[i], c]
//
// | @ | name     | access  | type       | shape |
// |---|----------|---------|------------|------------------------|
// | 0 | p        | uniform | Params     | |
// | 1 | segments | read    | array<u32> | (R, 3): id, start, end |
// | 2 | order    | read    | array<u32> | (R) |
// | 3 | dy       | read    | array<f32> | (R, C) |
// | 4 | dtable   | update  | array<f32> | (V, C) |
//
// grid: one invocation per (segment, column), folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> segments: array<u32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dtable: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.rows * p.cols {
        let s = i / p.cols;
        let c = i % p.cols;
        let start = segments[3u * s + 1u];
        let end = segments[3u * s + 2u];
        if start < end {
            var sum = 0.0;
            for (var j = start; j < end; j++) {
                sum += dy[order[j] * p.cols + c];
            }
            let at = min(segments[3u * s], p.vocab - 1u) * p.cols + c;
            dtable[at] += sum;
        }
    }
}
