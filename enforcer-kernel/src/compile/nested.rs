//! Values of tables, and which of them contain which.

use std::collections::BTreeMap;

use stockade_enforcer_common::dimension::{self, Facet};
use stockade_enforcer_common::key::{LpmNetKey, LpmStrKey, NumKey, StrKey64, StrKey256};
use stockade_enforcer_common::name::hook_map;
use stockade_enforcer_common::process::binary_value_id;
use stockade_policy::ir::Cidr;
use zerocopy::IntoBytes;

/// What a row is about. In order, a value stands right before those that it contains.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Number(u64),
    Whole(String),
    /// Every text that begins with it.
    Prefix(String),
    /// Every text that ends with it. Its letters stand from the last to the first: in any other order, what it contains is
    /// all over the place.
    Postfix(String),
    Network(Cidr),
    /// The ports of a prefix: first, bits.
    Ports(u16, u32),
    /// The numbers of a prefix: first, bits.
    Numbers(u64, u32),
}

impl Value {
    /// A listed text in a dimension.
    pub(super) fn text(dimension: u32, text: &str) -> Self {
        match dimension {
            dimension::BINARY_EXACT => Self::Whole(text.into()),
            dimension::BINARY_PREFIX => Self::Prefix(text.into()),
            dimension::BINARY_POSTFIX => Self::postfix(text),
            _ if facet(dimension) == Facet::Whole as u32 => Self::Whole(text.into()),
            _ if facet(dimension) == Facet::Prefix as u32 => Self::Prefix(text.into()),
            _ => Self::postfix(text),
        }
    }

    fn postfix(text: &str) -> Self {
        Self::Postfix(text.chars().rev().collect())
    }

    /// Whether everything in `other` is in this one.
    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(outer), Self::Prefix(inner)) | (Self::Postfix(outer), Self::Postfix(inner)) => {
                inner.starts_with(outer.as_str())
            }
            (Self::Network(outer), Self::Network(inner)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(outer.length)).unwrap_or(0);
                let differ = u128::from(outer.address) ^ u128::from(inner.address);
                outer.length <= inner.length && differ & mask == 0
            }
            (Self::Ports(outer, bits), Self::Ports(inner, of)) => {
                let mask = u16::MAX.checked_shl(16_u32.saturating_sub(*bits)).unwrap_or(0);
                bits <= of && (outer ^ inner) & mask == 0
            }
            (Self::Numbers(outer, bits), Self::Numbers(inner, of)) => {
                let mask = u64::MAX.checked_shl(64_u32.saturating_sub(*bits)).unwrap_or(0);
                bits <= of && (outer ^ inner) & mask == 0
            }
            _ => self == other,
        }
    }

    /// Whether tables find it as the part of a value, and so others that it contains need rows of their own.
    pub(super) fn nests(&self) -> bool {
        !matches!(self, Self::Number(_) | Self::Whole(_))
    }

    /// The table that it is in, and its key there. `None`: no key is that long.
    pub(super) fn key(&self, dimension: u32) -> Option<(&'static str, Vec<u8>)> {
        let postfix = |letters: &String| letters.chars().rev().collect::<String>();
        // Binaries are asked about by the id of the listed value that matched.
        if let dimension::BINARY_EXACT..=dimension::BINARY_POSTFIX = dimension {
            let id = |text: &str| numeric(dimension, binary_value_id(dimension, text.as_bytes()));
            return match self {
                Self::Whole(text) | Self::Prefix(text) => Some(id(text)),
                Self::Postfix(letters) => Some(id(&postfix(letters))),
                Self::Number(_) | Self::Network(_) | Self::Ports(..) | Self::Numbers(..) => None,
            };
        }
        Some(match self {
            Self::Number(number) => numeric(dimension, *number),
            Self::Whole(text) => match StrKey64::new(dimension, text.as_bytes()) {
                Some(key) => (hook_map::STR64, key.as_bytes().to_vec()),
                None => (hook_map::STR256, StrKey256::new(dimension, text.as_bytes())?.as_bytes().to_vec()),
            },
            Self::Prefix(text) => {
                (hook_map::LPM_STR, LpmStrKey::prefix(dimension, text.as_bytes())?.as_bytes().to_vec())
            }
            Self::Postfix(letters) => {
                let text = postfix(letters);
                (hook_map::LPM_STR, LpmStrKey::postfix(dimension, text.as_bytes())?.as_bytes().to_vec())
            }
            Self::Network(Cidr { address, length }) => {
                let key = LpmNetKey::address(dimension, address.octets(), u32::from(*length))?;
                (hook_map::LPM_NET, key.as_bytes().to_vec())
            }
            Self::Ports(first, bits) => {
                (hook_map::LPM_NET, LpmNetKey::port(dimension, *first, *bits)?.as_bytes().to_vec())
            }
            Self::Numbers(first, bits) => {
                (hook_map::LPM_NET, LpmNetKey::number(dimension, *first, *bits)?.as_bytes().to_vec())
            }
        })
    }
}

/// The facet of an argument's dimension.
fn facet(dimension: u32) -> u32 {
    dimension.saturating_sub(dimension::ARGUMENTS) % dimension::ARGUMENT_STRIDE
}

pub(super) fn numeric(dimension: u32, number: u64) -> (&'static str, Vec<u8>) {
    (hook_map::NUM, NumKey::new(dimension, number).as_bytes().to_vec())
}

/// Goes through values from outside in. What is known of a value is made of what is known of the narrowest that it is in,
/// and of what stands beside the value itself: asking every value about every other took minutes.
pub(super) fn outside_in<Beside, Known>(
    values: BTreeMap<Value, Beside>,
    know: impl Fn(Option<&Known>, Beside) -> Known,
    mut visit: impl FnMut(&Value, &Known),
) {
    let mut around: Vec<(Value, Known)> = Vec::new();
    for (value, beside) in values {
        while around.last().is_some_and(|(outer, _)| !outer.contains(&value)) {
            around.pop();
        }
        let known = know(around.last().map(|(_, known)| known), beside);
        visit(&value, &known);
        around.push((value, known));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just('a'), Just('b'), Just('é')], 0..5)
            .prop_map(|letters| letters.into_iter().collect())
    }

    fn network() -> impl Strategy<Value = Value> {
        (0_u128..16, prop_oneof![Just(0_u8), 120..=128_u8]).prop_map(|(low, length)| {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Value::Network(Cidr { address: ((low * 17) & mask).into(), length })
        })
    }

    fn ports() -> impl Strategy<Value = Value> {
        (any::<u8>(), prop_oneof![Just(0_u32), 8..=16_u32]).prop_map(|(low, bits)| {
            let mask = u16::MAX.checked_shl(16 - bits).unwrap_or(0);
            Value::Ports(u16::from(low) & mask, bits)
        })
    }

    fn numbers() -> impl Strategy<Value = Value> {
        (any::<u8>(), prop_oneof![Just(0_u32), 56..=64_u32]).prop_map(|(low, bits)| {
            let mask = u64::MAX.checked_shl(64 - bits).unwrap_or(0);
            Value::Numbers(u64::from(low) & mask, bits)
        })
    }

    fn values(one: impl Strategy<Value = Value>) -> impl Strategy<Value = BTreeSet<Value>> {
        prop::collection::btree_set(one, 0..24)
    }

    /// Every value with all that contain it, asked one by one and by what the words say.
    fn by_asking(values: &BTreeSet<Value>) -> BTreeMap<Value, BTreeSet<Value>> {
        let contains = |outer: &Value, inner: &Value| match (outer, inner) {
            (Value::Prefix(outer), Value::Prefix(inner)) => inner.starts_with(outer.as_str()),
            // Both are written backwards.
            (Value::Postfix(outer), Value::Postfix(inner)) => {
                let forwards = |letters: &String| letters.chars().rev().collect::<String>();
                forwards(inner).ends_with(&forwards(outer))
            }
            (Value::Network(outer), Value::Network(inner)) => {
                let last =
                    |cidr: &Cidr| u128::from(cidr.address) | u128::MAX.checked_shr(cidr.length.into()).unwrap_or(0);
                outer.address <= inner.address && last(inner) <= last(outer)
            }
            (Value::Ports(outer, outer_bits), Value::Ports(inner, inner_bits)) => {
                let last = |first: u16, bits: u32| first | u16::MAX.checked_shr(bits).unwrap_or(0);
                outer <= inner && last(*inner, *inner_bits) <= last(*outer, *outer_bits)
            }
            (Value::Numbers(outer, outer_bits), Value::Numbers(inner, inner_bits)) => {
                let last = |first: u64, bits: u32| first | u64::MAX.checked_shr(bits).unwrap_or(0);
                outer <= inner && last(*inner, *inner_bits) <= last(*outer, *outer_bits)
            }
            _ => outer == inner,
        };
        let around = |inner: &Value| values.iter().filter(|outer| contains(outer, inner)).cloned().collect();
        values.iter().map(|value| (value.clone(), around(value))).collect()
    }

    proptest! {
        #[test]
        fn what_is_around_a_value_is_known_without_asking_all_others(
            values in prop_oneof![
                values((0_u64..40).prop_map(Value::Number)),
                values(text().prop_map(Value::Whole)),
                values(text().prop_map(Value::Prefix)),
                values(text().prop_map(|text| Value::postfix(&text))),
                values(network()),
                values(ports()),
                values(numbers()),
            ],
        ) {
            let beside = values.iter().map(|value| (value.clone(), value.clone())).collect();
            let know = |around: Option<&BTreeSet<Value>>, own: Value| {
                around.into_iter().flatten().cloned().chain([own]).collect()
            };
            let mut known = BTreeMap::new();
            outside_in(beside, know, |value, around| { known.insert(value.clone(), around.clone()); });
            prop_assert_eq!(known, by_asking(&values));
        }
    }
}
