//! Executing a request: both sides do it with this code.

use super::request::Request;
use super::response::Completion;
use super::supervisor::{Residence, link_kernel, regions};
use mmu_core::space::{Environment, SpaceError, SpaceId, System};
use mmu_core::x86::format::Format;

/// Carries out an order that neither begins a system nor runs a process.
///
/// # Errors
/// What the system says.
pub fn execute<F: Format, E: Environment, const FRAMES: usize, const SLOTS: usize>(
    system: &mut System<F, FRAMES, SLOTS>,
    env: &mut E,
    residence: Residence,
    order: &Request,
) -> Result<Completion, SpaceError> {
    let done = |()| Completion::Done;
    match *order {
        Request::Create => {
            let space = system.create(env)?;
            for region in regions(F::MODE, residence) {
                if let Err(error) = system.map(env, space, region) {
                    system.destroy(env, space)?;
                    return Err(error);
                }
            }
            move_in(system, env, residence, space)
        }
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
            move_in(system, env, residence, child)
        }
        Request::Share(pages, backing) => {
            system.create_object(pages, backing).map(Completion::Object)
        }
        Request::Reclaim => system.reclaim(env).map(Completion::Taken),
        Request::Begin { .. } | Request::Run(_) => Ok(Completion::Done),
    }
}

/// The kernel moves into a new space, if that is where it lives.
fn move_in<F: Format, E: Environment, const FRAMES: usize, const SLOTS: usize>(
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
