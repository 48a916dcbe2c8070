//! Where a panic happened. The payload that unwinding carries does not say; the panic hook does, so one that
//! remembers the place is put in front of whatever hook there is, for panics inside a simulation only.

use crate::world::current;
use std::any::Any;
use std::cell::RefCell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Begins to remember places, once per process.
pub(crate) fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if current().is_some() {
                let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
                PLACE.with_borrow_mut(|last| *last = place);
            }
            before(panic);
        }));
    });
}

/// What a panic said, and where.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let said = if let Some(message) = panic.downcast_ref::<&str>() {
        message
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message
    } else {
        "a panic without a message"
    };
    match PLACE.with_borrow_mut(Option::take) {
        Some(place) => format!("{said} ({place})"),
        None => said.to_owned(),
    }
}
