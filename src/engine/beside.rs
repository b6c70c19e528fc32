//! What trains beside the linked model, to compare it with: the second lane.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::model::Wiring;
use crate::train::recipe::Preset;

/// The second model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Beside {
    /// The flattened control: image tokens in the text, same seed, same data.
    Flattened,
    /// The same model with other links: an order by name, or a depth for each link.
    Links(String),
    /// The same model, whose stage 2 goes on where stage 3 trains the tower.
    MoreOfStageTwo,
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flattened => f.write_str("flattened"),
            Self::Links(links) => write!(f, "links:{links}"),
            Self::MoreOfStageTwo => f.write_str("more-of-stage-2"),
        }
    }
}

impl FromStr for Beside {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("links:")) {
            ("flattened", _) => Ok(Self::Flattened),
            ("more-of-stage-2", _) => Ok(Self::MoreOfStageTwo),
            (_, Some(links)) => Ok(Self::Links(links.to_owned())),
            _ => Err("flattened, links:1,2,3,4 (a depth for each link, or an order) and more-of-stage-2".to_owned()),
        }
    }
}

impl From<Beside> for String {
    fn from(beside: Beside) -> Self {
        beside.to_string()
    }
}

impl TryFrom<String> for Beside {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Beside {
    /// Its name in words, without commas: it stands in tables.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Flattened => "flattened control".to_owned(),
            Self::Links(links) => format!("links {}", links.replace(',', " ")),
            Self::MoreOfStageTwo => "more of stage 2".to_owned(),
        }
    }

    /// The recipe of that model.
    ///
    /// # Errors
    /// A sentence: links that the model cannot have, or has itself.
    pub fn preset(&self, hive: &Preset) -> Result<Preset, String> {
        let mut preset = hive.clone();
        match self {
            Self::Flattened => preset.wiring = Wiring::Flattened,
            Self::Links(links) => {
                preset.set_links(links).map_err(|e| e.to_string())?;
                if preset.model.link_config == hive.model.link_config {
                    return Err(format!("the model beside has the same links, {links}. Choose other ones"));
                }
            }
            Self::MoreOfStageTwo => {}
        }
        Ok(preset)
    }

    /// What a model beside `hive` is by its recipe.
    #[must_use]
    pub fn of(hive: &Preset, other: &Preset) -> Self {
        let depths = |p: &Preset| p.model.link_config.vision_layers.clone();
        match other.wiring {
            Wiring::Linked if depths(hive) == depths(other) => Self::MoreOfStageTwo,
            Wiring::Linked => Self::Links(depths(other).iter().map(usize::to_string).collect::<Vec<_>>().join(",")),
            _ => Self::Flattened,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn recipes_tell_what_they_are() {
        let hive = crate::engine::assets::preset("grounds").unwrap();
        for text in ["flattened", "links:1,2,3,4", "more-of-stage-2"] {
            let beside: Beside = text.parse().unwrap();
            assert_eq!(Beside::of(&hive, &beside.preset(&hive).unwrap()).to_string(), text);
            assert!(!beside.name().contains(','));
        }
        let links = |list: &str| Beside::Links(list.to_owned()).preset(&hive);
        assert_eq!(links("paper").unwrap().model.link_config.vision_layers, [1, 2, 3, 4]);
        assert!(links("deep-first").unwrap_err().contains("same links"));
        assert!(links("1,2").unwrap_err().contains("4 depths such as 1,2,3,4"));
    }
}
