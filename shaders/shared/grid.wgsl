// Grids are folded to two dimensions (at most 65535 groups per axis); this is the way back to one index.

fn flat(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
