//! check
use super::Fault;
pub fn parity(_: &[String]) -> Result<(), Fault> { Ok(()) }
pub fn verify(_: &[String]) -> Result<(), Fault> { Ok(()) }
pub fn doctor(_: &[String]) -> Result<(), Fault> { Ok(()) }
