// packed/unpack: a view of a packed matrix to floats, transposed: the second operand of a product in nn order.
//
// | @ | name   | access  | type             | shape |
// |---|--------|---------|------------------|--------|
// | 0 | p      | uniform | Params           | |
// | 1 | data   | read    | array<vec4<u32>> | (panels, units, 32) |
// | 2 | scales | read    | array<u32>       | (panels, K / 64, 32), if int8 or int4 |
// | 3 | y      | write   | array<f32>       | (K, R) |
//
// grid: one invocation per row and unit, rows side by side, folded.   overrides: WG
#import params
#import grid
#import panel
#import decode

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let row = i % p.rows;
    let c = i / p.rows;
    if c >= p.units {
        return;
    }
    let stored = stored_row(row, p.start, p.step);
    let unit = data[unit_of(stored, c, p.units)];
    let k0 = c * 4u * PER_WORD;
    let scale = scale_at(stored, k0);
    for (var w = 0u; w < 4u; w++) {
        let word = unit[w];
        for (var j = 0u; j < PER_WORD; j++) {
            let k = k0 + w * PER_WORD + j;
            if k < p.cols {
                y[k * p.rows + row] = decoded(word, j, scale);
            }
        }
    }
}
