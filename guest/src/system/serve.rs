//! Executing a request. Host and guest share this code, each with a system and an environment of
//! its own.

use super::request::Request;
use super::response::Completion;
use super::supervisor::{Residence, link_kernel, regions};
use mmu_core::space::{Environment, SpaceError, SpaceId, System};
use mmu_core::x86::format::Format;

/// Executes a request on a system.
///
/// [`Request::Begin`] and [`Request::Run`] are left to the caller, which has to replace the system
/// or to enter processes. For them this does nothing and returns [`Completion::Done`].
///
/// # Errors
/// If the system refuses the request. A space that cannot get the supervisor's regions is destroyed
/// again.
pub fn execute<F: Format, E: Environment, const FRAMES: usize, const SLOTS: usize>(
    system: &mut System<F, FRAMES, SLOTS>,
    env: &mut E,
    residence: Residence,
    request: &Request,
) -> Result<Completion, SpaceError> {
    let done = |()| Completion::Done;

    match *request {
        Request::Create => create(system, env, residence),
        Request::Destroy(space) => system.destroy(env, space).map(done),
        Request::Map(space, region) => system.map(env, space, region).map(done),
        Request::Unmap(space, address) => {
            system.unmap(env, space, address).map(|_| Completion::Done)
        }
        Request::Protect(space, address, protection) => {
            system.protect(env, space, address, protection).map(done)
        }
        Request::Grow(space, address, pages) => {
            system.grow(space, address, pages).map(|_| Completion::Done)
        }
        Request::Fork(space) => {
            let child = system.fork(env, space)?;
            move_kernel_in(system, env, residence, child)
        }
        Request::Share(pages, backing) => {
            system.create_object(pages, backing).map(Completion::Object)
        }
        Request::Reclaim => system.reclaim(env).map(Completion::Taken),
        Request::Begin { .. } | Request::Run(_) => Ok(Completion::Done),
    }
}

/// Creates an address space with the supervisor's regions.
fn create<F: Format, E: Environment, const FRAMES: usize, const SLOTS: usize>(
    system: &mut System<F, FRAMES, SLOTS>,
    env: &mut E,
    residence: Residence,
) -> Result<Completion, SpaceError> {
    let space = system.create(env)?;

    for region in regions(F::MODE, residence) {
        if let Err(error) = system.map(env, space, region) {
            system.destroy(env, space)?;
            return Err(error);
        }
    }

    move_kernel_in(system, env, residence, space)
}

/// Maps the kernel into a new space if it resides in its processes' spaces.
fn move_kernel_in<F: Format, E: Environment, const FRAMES: usize, const SLOTS: usize>(
    system: &System<F, FRAMES, SLOTS>,
    env: &mut E,
    residence: Residence,
    space: SpaceId,
) -> Result<Completion, SpaceError> {
    if residence == Residence::InProcess {
        link_kernel(env, system.root(space)?)?;
    }

    Ok(Completion::Space(space))
}
