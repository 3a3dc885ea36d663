//! The JSON Schemas of all documents, generated from their types. `docs/schemas` has them.

use super::compare::json::CompareDocument;
use super::compare::nested::NestedCompareDocument;
use super::compare::reports::ReportComparison;
use super::conformance::json::ConformanceDocument;
use super::corpus::RecordDocument;
use super::document::{Document, Whole};
use super::exercise::json::{ExerciseListDocument, ExercisesDocument};
use super::findings::FindingsDocument;
use super::geometry::json::GeometryDocument;
use super::image::{CasesDocument, ImageDocument};
use super::inspect::audit::AuditDocument;
use super::inspect::check::MonitorDocument;
use super::inspect::difference::DifferenceDocument;
use super::inspect::maps::json::MapsDocument;
use super::inspect::reverse::ReverseDocument;
use super::inspect::tree::json::TreeDocument;
use super::inspect::walk::WalkDocument;
use super::litmus::{LitmusDocument, LitmusMutantsDocument};
use super::machines::json::MachinesDocument;
use super::mutants::MutantsDocument;
use super::nested::{
    NestedConformanceDocument, NestedDocument, NestedExplainDocument, NestedMutantsDocument,
    NestedRecordDocument,
};
use super::rules::RulesDocument;
use super::run::json::RunDocument;
use super::run::side_by_side::SideBySideDocument;
use super::scenario::json::{ScenarioListDocument, ScenariosDocument};
use super::scenario::random::RandomRunsDocument;
use super::statistics::StatisticsDocument;
use super::walk::json::ExplainDocument;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// Every document, by the name of its schema.
fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("audit", schema_of::<AuditDocument<'_>>("audit")),
        ("compare", schema_of::<CompareDocument<'_>>("compare")),
        ("compare-reports", schema_of::<ReportComparison>("compare-reports")),
        ("conformance", schema_of::<ConformanceDocument<'_>>("conformance")),
        ("corpus-stats", schema_of::<StatisticsDocument<'_>>("corpus-stats")),
        ("diff", schema_of::<DifferenceDocument<'_>>("diff")),
        ("exercise", schema_of::<ExercisesDocument<'_>>("exercise")),
        ("exercise-list", schema_of::<ExerciseListDocument>("exercise-list")),
        ("explain", schema_of::<ExplainDocument<'_>>("explain")),
        ("findings", schema_of::<FindingsDocument<'_>>("findings")),
        ("geometry", schema_of::<GeometryDocument>("geometry")),
        ("image", schema_of::<ImageDocument<'_>>("image")),
        ("judge-cases", schema_of::<CasesDocument<'_>>("judge-cases")),
        ("litmus", schema_of::<LitmusDocument<'_>>("litmus")),
        ("litmus-mutants", schema_of::<LitmusMutantsDocument<'_>>("litmus-mutants")),
        ("machines", schema_of::<MachinesDocument<'_>>("machines")),
        ("maps", schema_of::<MapsDocument<'_>>("maps")),
        ("maps-check", schema_of::<MonitorDocument<'_>>("maps-check")),
        ("maps-tree", schema_of::<TreeDocument<'_>>("maps-tree")),
        ("mutants", schema_of::<MutantsDocument<'_>>("mutants")),
        ("nested", schema_of::<NestedDocument<'_>>("nested")),
        ("nested-compare", schema_of::<NestedCompareDocument<'_>>("nested-compare")),
        ("nested-conformance", schema_of::<NestedConformanceDocument<'_>>("nested-conformance")),
        ("nested-explain", schema_of::<NestedExplainDocument<'_>>("nested-explain")),
        ("nested-mutants", schema_of::<NestedMutantsDocument<'_>>("nested-mutants")),
        ("nested-record", schema_of::<NestedRecordDocument<'_>>("nested-record")),
        ("record", schema_of::<RecordDocument<'_>>("record")),
        ("rmap", schema_of::<ReverseDocument<'_>>("rmap")),
        ("rules", schema_of::<RulesDocument<'_>>("rules")),
        ("run", schema_of::<RunDocument<'_>>("run")),
        ("runs", schema_of::<SideBySideDocument<'_>>("runs")),
        ("scenario", schema_of::<ScenariosDocument<'_>>("scenario")),
        ("scenario-list", schema_of::<ScenarioListDocument>("scenario-list")),
        ("scenario-random", schema_of::<RandomRunsDocument<'_>>("scenario-random")),
        ("walk", schema_of::<WalkDocument<'_>>("walk")),
    ]
}

/// The schema of a document with its top.
fn schema_of<D: Document + JsonSchema>(name: &str) -> Value {
    let settings = || SchemaSettings::draft2020_12().for_serialize();
    let body = settings().into_generator().into_root_schema_for::<D>();
    let whole = settings().into_generator().into_root_schema_for::<Whole<'_, D>>();

    let mut schema = with_plain_names(whole.to_value());
    schema["title"] = json!(format!("crosswalk {name}"));
    schema["description"] = body.to_value()["description"].clone();
    schema["properties"]["schema"]["const"] = json!(D::SCHEMA);
    schema
}

/// The same, with definitions that are named for what they are and not for how they are written.
fn with_plain_names(mut schema: Value) -> Value {
    let plain = |name: &str| name.strip_suffix("Json").unwrap_or(name).to_owned();
    if let Some(Value::Object(definitions)) = schema.get_mut("$defs") {
        let count = definitions.len();
        let renamed = std::mem::take(definitions).into_iter();
        *definitions = renamed.map(|(name, schema)| (plain(&name), schema)).collect();
        assert_eq!(definitions.len(), count, "two definitions have the same name");
    }

    for_each(&mut schema, &mut |schema| {
        if let Some(Value::String(target)) = schema.get_mut("$ref") {
            *target = plain(target);
        }
    });
    schema
}

/// Calls a function with every object of a schema.
fn for_each(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values_mut().for_each(|inner| for_each(inner, visit));
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| for_each(inner, visit)),
        _ => {}
    }
}

/// The integers of a schema that may be more than JavaScript and jq hold, and seeds that are no strings.
fn unsafe_numbers(schema: &Value) -> Vec<String> {
    const LARGEST: u64 = (1 << 53) - 1;
    let mut found = Vec::new();

    for_each(&mut schema.clone(), &mut |schema| {
        let is_integer = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "integer"),
            kind => kind == Some(&json!("integer")),
        };
        let has_few_bits = matches!(
            schema.get("format").and_then(Value::as_str),
            Some("uint8" | "uint16" | "uint32" | "int32")
        );
        let is_bounded =
            schema.get("maximum").and_then(Value::as_u64).is_some_and(|most| most <= LARGEST);
        if is_integer && !has_few_bits && !is_bounded {
            found.push(json!(schema).to_string());
        }

        let seed = schema.get("properties").and_then(|members| members.get("seed"));
        if let Some(seed) = seed.filter(|seed| seed.to_string().contains("integer")) {
            found.push(format!("seed: {seed}"));
        }
    });
    found
}

/// `CROSSWALK_BLESS=1` writes them.
#[test]
fn the_schemas_are_those_of_the_types() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let is_blessed = std::env::var_os("CROSSWALK_BLESS").is_some();
    let mut names: Vec<String> = Vec::new();
    let mut stale = Vec::new();

    for (name, schema) in all() {
        let file = format!("{name}.json");
        let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
        if fs::read_to_string(directory.join(&file)).is_ok_and(|old| old == text) {
        } else if is_blessed {
            fs::write(directory.join(&file), text).expect("the schema can be written");
        } else {
            stale.push(file.clone());
        }
        names.push(file);
    }
    assert_eq!(stale, [""; 0], "CROSSWALK_BLESS=1 writes these into docs/schemas");

    let entries = fs::read_dir(&directory).expect("there are schemas");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    files.sort();
    names.sort();
    assert_eq!(files, names, "docs/schemas has schemas of other documents");
}

#[test]
fn every_number_is_one_that_a_double_holds() {
    for (name, schema) in all() {
        assert_eq!(unsafe_numbers(&schema), [""; 0], "in the schema {name}");
    }
}

#[test]
fn a_number_of_64_bits_is_found() {
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Numbers {
        seed: u32,
        count: Option<u64>,
        size: Vec<usize>,
        small: u32,
    }

    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Numbers>();
    assert_eq!(unsafe_numbers(&schema.to_value()).len(), 3);
}

/// All that a document may have is described: the comments of the types are the descriptions.
#[test]
fn every_member_has_a_description() {
    for (name, mut schema) in all() {
        for_each(&mut schema, &mut |schema| {
            let Some(Value::Object(members)) = schema.get("properties") else { return };
            // A variant of an enum is described as a whole.
            let is_variant = members.len() == 1 && schema.contains_key("description");
            for (member, schema) in members {
                // The tag of an enum, whose values are described.
                let is_tag = schema.get("const").is_some();
                let is_described = schema.get("description").is_some() || is_variant || is_tag;
                assert!(is_described, "{name}: {member} has no description");
            }
        });
    }
}
