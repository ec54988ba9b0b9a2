//! The bound of generations.

use serde::{Deserialize, Deserializer, de};

/// The highest generation: the largest integer that every reader of JSON holds exactly (RFC 8259, section 6), far above
/// what commits can count to.
pub const MOST_GENERATION: u64 = (1 << 53) - 1;

/// Reads a generation; a higher one is an error.
pub(super) fn bounded<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let generation = u64::deserialize(from)?;
    if generation > MOST_GENERATION {
        return Err(de::Error::custom(format_args!(
            "{generation} is no generation: the highest is {MOST_GENERATION}"
        )));
    }
    Ok(generation)
}

/// The generation of a header alone, by which a fault of it has its place.
#[derive(Deserialize)]
pub(super) struct Counted {
    #[serde(rename = "generation", deserialize_with = "bounded")]
    _generation: u64,
}
