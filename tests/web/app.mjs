export const TESTS = [];
