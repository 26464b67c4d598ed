//! Who may call what, read out of the options of the methods. A method that does not say fails the build.

use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, Kind, MethodDescriptor, Value};

/// Our option of methods.
const OPTION: &str = "countersign.v1.access";
/// Services of others are not ours to open.
const PACKAGE: &str = "countersign.v1";

/// The source of a table from the path of each method to the roles that may call it, in the sequence of the paths.
pub(crate) fn table(pool: &DescriptorPool) -> Result<String, String> {
    let mut rows = Vec::new();
    for service in pool
        .services()
        .filter(|service| service.package_name() == PACKAGE)
    {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            rows.push((path, roles(pool, &method)?));
        }
    }
    rows.sort();
    let mut source = String::from("&[\n");
    for (path, roles) in rows {
        writeln!(source, "    ({path:?}, &[{}]),", roles.join(", "))
            .map_err(|error| error.to_string())?;
    }
    source.push(']');
    Ok(source)
}

/// The roles of a method as the generated enum names them.
fn roles(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Vec<String>, String> {
    let missing = || {
        format!(
            "{} does not say who may call it: give it `option (access) = {{ roles: [ROLE_…] }};`",
            method.full_name()
        )
    };
    let option = pool.get_extension_by_name(OPTION).ok_or_else(missing)?;
    let options = method.options();
    let Value::Message(access) = options.get_extension(&option).into_owned() else {
        return Err(missing());
    };
    let field = access
        .get_field_by_name("roles")
        .ok_or_else(missing)?
        .into_owned();
    let Value::List(numbers) = field else {
        return Err(missing());
    };
    let Kind::Message(message) = option.kind() else {
        return Err(missing());
    };
    let Some(Kind::Enum(role)) = message.get_field_by_name("roles").map(|it| it.kind()) else {
        return Err(missing());
    };
    let mut roles = Vec::new();
    for number in numbers {
        let value = number
            .as_enum_number()
            .filter(|number| *number != 0)
            .and_then(|number| role.get_value(number));
        let value = value.ok_or_else(|| format!("{} names no role", method.full_name()))?;
        roles.push(format!("Role::{}", camel(value.name())));
    }
    if roles.is_empty() {
        return Err(missing());
    }
    Ok(roles)
}

/// `ROLE_ORDER_WRITER` as the generated enum writes it: `OrderWriter`.
fn camel(name: &str) -> String {
    let mut camel = String::new();
    for word in name.trim_start_matches("ROLE_").split('_') {
        let (first, rest) = word.split_at(1);
        camel.push_str(first);
        camel.push_str(&rest.to_lowercase());
    }
    camel
}
