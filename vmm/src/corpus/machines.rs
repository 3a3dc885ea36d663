//! The machines of a corpus as if they were one.

use crosswalk_machine::{Capabilities, Identity, ModeOffer};

/// Several machines, seen as one that offers everything that at least one of them offers.
pub(super) struct JoinedMachine {
    pub(super) identity: Identity,
    pub(super) capabilities: Capabilities,
}

impl JoinedMachine {
    /// A single machine. Its kind becomes `corpus`.
    pub(super) fn of(identity: Identity, capabilities: Capabilities) -> Self {
        Self { identity: Identity { kind: "corpus".into(), ..identity }, capabilities }
    }

    /// Adds a machine.
    pub(super) fn add(&mut self, identity: Identity, capabilities: Capabilities) {
        self.add_identity(identity);
        self.add_capabilities(capabilities);
    }

    fn add_identity(&mut self, identity: Identity) {
        let all = &mut self.identity;

        add_name(&mut all.flavour, &identity.flavour);
        add_name(&mut all.beneath, &identity.beneath);
        add_name(&mut all.cpu, &identity.cpu);
        add_name(&mut all.host_kernel, &identity.host_kernel);
        match (&mut all.version, identity.version) {
            (Some(known), Some(version)) => add_name(known, &version),
            (known @ None, version) => *known = version,
            (Some(_), None) => {}
        }
    }

    fn add_capabilities(&mut self, capabilities: Capabilities) {
        let all = &mut self.capabilities;

        let bits = capabilities.profile.physical_address_bits;
        all.profile.physical_address_bits = all.profile.physical_address_bits.max(bits);
        all.profile.features |= capabilities.profile.features;
        all.not_in_cpuid |= capabilities.not_in_cpuid;
        all.sees_outside |= capabilities.sees_outside;

        for offer in capabilities.modes {
            add_offer(&mut all.modes, offer);
        }
        if capabilities.implicit_accesses.is_ok() {
            all.implicit_accesses = Ok(());
        }
        if capabilities.compatibility.is_ok() {
            all.compatibility = Ok(());
        }
        if capabilities.read_only_tables.is_ok() {
            all.read_only_tables = Ok(());
        }
    }
}

fn add_offer(all: &mut Vec<ModeOffer>, (mode, offer): ModeOffer) {
    match all.iter_mut().find(|(known, _)| *known == mode) {
        Some((_, known)) if offer.is_ok() => *known = Ok(()),
        Some(_) => {}
        None => all.push((mode, offer)),
    }
}

/// Adds a name to those in a list such as `tcg + svm-npt`.
fn add_name(list: &mut String, name: &str) {
    const SEPARATOR: &str = " + ";

    if !list.split(SEPARATOR).any(|known| known == name) {
        *list += SEPARATOR;
        *list += name;
    }
}
