fn main() {
    let image = vmm::machine::image::Image::built_in().unwrap();
    let t = std::time::Instant::now();
    let machine = vmm::machine::kvm::KvmMachine::open(image);
    match machine {
        Ok(machine) => {
            use vmm::machine::Machine;
            println!(
                "{:#?}\n{:#?}\n{:#?}",
                machine.identity(),
                machine.capabilities(),
                machine.provenance()
            );
        }
        Err(error) => println!("{error}"),
    }
    println!("{:?}", t.elapsed());
}
