//! What each driver sets for himself, through the commands and real stores.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use crate::cli::trial::Trial;
use crate::control::{DriverOrder, InCar as _};
use crate::daemon::authority::Change;
use crate::daemon::session::Keep;
use crate::store::files::FileError;
use glovebox_core::consent::session::{Driver, Lasts, Scope, What};
use glovebox_core::names::DriverId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn driver(name: &str) -> DriverId {
    DriverId::new(name).unwrap()
}

/// A file that can be written until it cannot.
struct Failing(Arc<AtomicBool>);

impl Keep for Failing {
    fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        Ok(None)
    }

    fn write(&self, _: &str) -> Result<(), FileError> {
        if !self.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        let source = std::io::Error::from_raw_os_error(28);
        Err(FileError::Io { act: "write", path: "session".into(), source })
    }
}

#[test]
fn a_driver_without_a_name_sets_nothing_for_himself() {
    let trial = Trial::provisioned();
    let mut car = trial.local();
    for (order, said) in [(DriverOrder::Ask, "not known"), (DriverOrder::Guest, "a guest")] {
        car.driver(&order).unwrap();
        let error = car.hold(&What::Location, Lasts::UntilEnded, Scope::Driver).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("glovebox driver is ID"), "{error}");
    }
    car.driver(&DriverOrder::Is(driver("a"))).unwrap();
    let held = car.hold(&What::Location, Lasts::UntilEnded, Scope::Driver).unwrap();
    assert_eq!((held.len(), held[0].scope), (1, Scope::Driver));
    assert!(car.take_changes().contains(&Change::InCar));
    let guest = car.driver(&DriverOrder::Guest).unwrap();
    assert_eq!((guest.driver, guest.holds.len()), (Driver::Guest, 0));
    assert_eq!(car.take_changes(), [Change::InCar]);
    car.driver(&DriverOrder::Guest).unwrap();
    assert_eq!(car.take_changes(), [], "nobody else");
    car.driver(&DriverOrder::Forget(driver("a"))).unwrap();
    assert_eq!(car.driver(&DriverOrder::Is(driver("a"))).unwrap().holds, []);
}

/// A name that nobody has would hold nothing back, and be believed to.
#[test]
fn nobody_pauses_a_recipient_or_a_purpose_that_is_misspelt() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    let mut car = trial.local();
    let flow = |recipient: &str, purpose: &str| What::Flow {
        recipient: recipient.parse().unwrap(),
        purpose: purpose.parse().unwrap(),
    };
    let mut hold = |what: &What| car.hold(what, Lasts::UntilEnded, Scope::Car);
    let error = hold(&flow("tyres", "tyre-car")).unwrap_err().to_string();
    assert!(
        error.contains("tyres has no purpose called tyre-car; in the policy there is tyre-care"),
        "{error}"
    );
    let error = hold(&flow("tyre", "tyre-care")).unwrap_err().to_string();
    assert!(error.contains("no recipient is called tyre"), "{error}");
    assert_eq!(hold(&flow("tyres", "tyre-care")).unwrap().len(), 1);
    let left = car.release(&What::Recipient("tyres".parse().unwrap()), Scope::Car).unwrap();
    assert_eq!(left, [], "as `why` says");
}

#[test]
fn invariant_3_a_driver_that_cannot_be_stored_counts_as_not_known() {
    let full = Arc::new(AtomicBool::new(false));
    let trial = Trial::provisioned();
    let mut car = trial.local().with_session(Box::new(Failing(Arc::clone(&full))));
    car.driver(&DriverOrder::Is(driver("a"))).unwrap();
    car.hold(&What::All, Lasts::UntilEnded, Scope::Driver).unwrap();
    car.driver(&DriverOrder::Guest).unwrap();
    assert!(!car.session().is_paused());
    full.store(true, Ordering::Relaxed);
    assert!(car.driver(&DriverOrder::Is(driver("b"))).is_err());
    assert_eq!((car.session().driver(), car.session().is_paused()), (&Driver::Unknown, true));
    full.store(false, Ordering::Relaxed);
    car.driver(&DriverOrder::Is(driver("b"))).unwrap();
    assert!(!car.session().is_paused());
}
