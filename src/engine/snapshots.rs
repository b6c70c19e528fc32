//! Attention of one question over the steps of a run, within a fixed amount of memory.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::words::AttentionMaps;

/// Most bytes of kept maps.
pub(super) const BUDGET: usize = 20 << 20;

/// Most layers, heads and patches a side: each has something to click on.
const MOST: usize = 1 << 10;

/// A kept map: values as bytes, 255 is the map's largest value.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    step: u64,
    largest: f32,
    values: Vec<u8>,
    layout: Arc<Layout>,
}

/// Everything of the maps but their values; mostly equal from snapshot to snapshot, and then shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Layout {
    tokens: Vec<String>,
    first_answer: usize,
    layers: Vec<usize>,
    #[serde(default)]
    depths: Vec<usize>,
    heads: usize,
    side: usize,
}

impl Layout {
    /// How many values such maps have; none where that is nothing that could be.
    fn values(&self) -> Option<usize> {
        let depths = self.depths.is_empty() || self.depths.len() == self.layers.len();
        let sizes = [self.layers.len(), self.heads, self.tokens.len(), self.side, self.side];
        let few = [self.layers.len(), self.heads, self.side].iter().all(|size| *size <= MOST);
        let whole = few && depths && self.first_answer <= self.tokens.len() && sizes.iter().all(|size| *size > 0);
        sizes.into_iter().try_fold(1, usize::checked_mul).filter(|_| whole)
    }
}

/// Maps in the order of their steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshots {
    kept: Vec<Kept>,
    bytes: usize,
}

impl Snapshots {
    /// Adds maps; where the budget is used up, every second of the older ones is dropped.
    pub fn push(&mut self, step: u64, maps: &AttentionMaps) {
        let largest = maps.values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f32::max);
        let scale = if largest > 0.0 { 255.0 / largest } else { 0.0 };
        let values = maps.values.iter().map(|v| (v * scale).round().clamp(0.0, 255.0) as u8).collect();
        let (tokens, layers, depths) = (maps.tokens.clone(), maps.layers.clone(), maps.depths.clone());
        let (first_answer, heads, side) = (maps.first_answer, maps.heads, maps.side);
        let layout = Layout { tokens, first_answer, layers, depths, heads, side };
        let layout = match self.kept.last() {
            Some(last) if *last.layout == layout => Arc::clone(&last.layout),
            _ => Arc::new(layout),
        };
        self.kept.push(Kept { step, largest, values, layout });
        self.bytes = self.kept.iter().map(Kept::bytes).sum();
        while self.bytes > BUDGET && self.kept.len() > 2 {
            let last = self.kept.len() - 1;
            let mut i = 0;
            self.kept.retain(|_| {
                i += 1;
                i % 2 == 1 || i > last
            });
            self.bytes = self.kept.iter().map(Kept::bytes).sum();
        }
    }

    /// Number of snapshots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// None yet?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Bytes of all kept maps.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Step and maps of snapshot `i`.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<(u64, AttentionMaps)> {
        let k = self.kept.get(i)?;
        let values = k.values.iter().map(|v| f32::from(*v) * k.largest / 255.0).collect();
        let Layout { tokens, first_answer, layers, depths, heads, side } = (*k.layout).clone();
        Some((k.step, AttentionMaps { tokens, first_answer, layers, depths, heads, side, values }))
    }

    /// Drops snapshots of later steps.
    pub fn forget_after(&mut self, step: u64) {
        self.kept.retain(|k| k.step <= step);
        self.bytes = self.kept.iter().map(Kept::bytes).sum();
    }
}

/// The head of a file of snapshots: one line of JSON before the values.
#[derive(Serialize, Deserialize)]
struct Head {
    /// Step, largest value, number of values, index into `layouts`.
    kept: Vec<(u64, f32, usize, usize)>,
    layouts: Vec<Layout>,
}

impl Snapshots {
    /// As one block of bytes: a line of JSON, then all values.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut head = Head { kept: Vec::new(), layouts: Vec::new() };
        for k in &self.kept {
            if head.layouts.last() != Some(&*k.layout) {
                head.layouts.push((*k.layout).clone());
            }
            head.kept.push((k.step, k.largest, k.values.len(), head.layouts.len() - 1));
        }
        let mut bytes = serde_json::to_vec(&head)?;
        bytes.push(b'\n');
        self.kept.iter().for_each(|k| bytes.extend_from_slice(&k.values));
        Ok(bytes)
    }

    /// From such bytes.
    ///
    /// # Errors
    /// A sentence: a damaged head, or maps that have not as many values as their layout says. Values that are cut off end
    /// the list early.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
        let head: Head = serde_json::from_slice(&bytes[..end]).map_err(|e| e.to_string())?;
        let layouts: Vec<Arc<Layout>> = head.layouts.into_iter().map(Arc::new).collect();
        let mut rest = bytes.get(end + 1..).unwrap_or(&[]);
        let mut kept = Vec::new();
        for (step, largest, count, layout) in head.kept {
            let (Some((values, tail)), Some(layout)) = (rest.split_at_checked(count), layouts.get(layout)) else {
                break;
            };
            if layout.values() != Some(count) || !largest.is_finite() {
                return Err(format!("the map of step {step} has {count} values, which is not what its layout says"));
            }
            rest = tail;
            kept.push(Kept { step, largest, values: values.to_vec(), layout: Arc::clone(layout) });
        }
        let bytes = kept.iter().map(Kept::bytes).sum();
        Ok(Self { kept, bytes })
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.values.len() + self.layout.tokens.iter().map(String::len).sum::<usize>() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn maps(step: u64, values: usize) -> AttentionMaps {
        AttentionMaps {
            tokens: vec!["a".into(); 4],
            first_answer: 2,
            layers: vec![0],
            depths: vec![2],
            heads: 1,
            side: 3,
            values: (0..values).map(|i| (i as u64 + step) as f32).collect(),
        }
    }

    #[test]
    fn the_budget_holds_and_the_ends_stay() {
        let mut s = Snapshots::default();
        for step in 0..300 {
            s.push(step, &maps(step, 200_000));
            assert!(s.bytes() <= BUDGET);
        }
        assert!(s.len() > 40, "{}", s.len());
        assert_eq!(s.get(0).unwrap().0, 0);
        assert_eq!(s.get(s.len() - 1).unwrap().0, 299);
    }

    #[test]
    fn bytes_and_back() {
        let mut s = Snapshots::default();
        (0..5).for_each(|step| s.push(step, &maps(step, 36)));
        let bytes = s.to_bytes().unwrap();
        assert_eq!(Snapshots::from_bytes(&bytes).unwrap(), s);
        assert_eq!(Snapshots::from_bytes(&bytes[..bytes.len() - 1]).unwrap().len(), 4);
        assert!(Snapshots::from_bytes(b"{").is_err());
        let (step, back) = s.get(3).unwrap();
        assert_eq!(step, 3);
        assert!(back.values.iter().zip(&maps(3, 36).values).all(|(a, b)| (a - b).abs() <= 39.0 / 255.0));
    }
}
