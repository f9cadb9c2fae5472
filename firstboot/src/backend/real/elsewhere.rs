//! A node that does not run: its root folder is here, and nobody of it is on the bus.

use crate::backend::{Answer, Namer, PeerError, Tuner, UnitState, Units};

/// Nobody answers.
pub struct Elsewhere;

fn nobody<'a, T: Send + 'a>() -> Answer<'a, T> {
    let why = "--root names another node than the running one, and nobody of it can be asked";
    Box::pin(async move { Err(PeerError::Refused(why.to_owned())) })
}

impl Tuner for Elsewhere {
    fn active(&self) -> Answer<'_, String> {
        nobody()
    }

    fn switch<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        nobody()
    }

    fn verify(&self) -> Answer<'_, bool> {
        nobody()
    }
}

impl Namer for Elsewhere {
    fn set_host_name<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        nobody()
    }
}

impl Units for Elsewhere {
    fn start<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        nobody()
    }

    fn restart<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        nobody()
    }

    fn reload<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        nobody()
    }

    fn state<'a>(&'a self, _: &'a str) -> Answer<'a, UnitState> {
        nobody()
    }

    fn reboot(&self) -> Answer<'_, ()> {
        nobody()
    }
}
