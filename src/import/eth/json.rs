//! The JSON of a block file, as nodes answer it over JSON-RPC.

use std::collections::BTreeMap;

use alloy_consensus::{
    EthereumTxEnvelope, Header, Signed, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy,
};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip2930::AccessList;
use alloy_eips::eip4895::Withdrawal;
use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U64, U128, U256};
use serde::Deserialize;

/// The block's header alone; a second reading takes the rest, so that every error has its line and column.
#[derive(Deserialize)]
pub(super) struct HeaderFile {
    pub(super) block: Header,
}

/// A block file without the block's header.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BodyFile {
    pub(super) block: BodyJson,
    pub(super) prestate: BTreeMap<Address, AccountJson>,
    #[serde(default)]
    pub(super) block_hashes: BTreeMap<String, B256>,
    /// The headers of the ommers, where whoever made the file asked for them.
    pub(super) uncles: Option<Vec<Header>>,
}

#[derive(Deserialize)]
pub(super) struct BodyJson {
    pub(super) hash: B256,
    pub(super) transactions: Vec<TransactionJson>,
    #[serde(default)]
    pub(super) uncles: Vec<B256>,
    pub(super) withdrawals: Option<Vec<Withdrawal>>,
}

/// An account before the block, as the `prestateTracer` answers it; what is absent is zero.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct AccountJson {
    pub(super) balance: U256,
    pub(super) nonce: U64,
    pub(super) code: Bytes,
    pub(super) storage: BTreeMap<B256, B256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TransactionJson {
    pub(super) hash: B256,
    #[serde(rename = "type")]
    kind: Option<U64>,
    chain_id: Option<U64>,
    nonce: U64,
    to: Option<Address>,
    value: U256,
    gas: U64,
    gas_price: Option<U128>,
    max_fee_per_gas: Option<U128>,
    max_priority_fee_per_gas: Option<U128>,
    max_fee_per_blob_gas: Option<U128>,
    blob_versioned_hashes: Option<Vec<B256>>,
    access_list: Option<AccessList>,
    authorization_list: Option<Vec<SignedAuthorization>>,
    input: Bytes,
    r: U256,
    s: U256,
    v: U256,
    y_parity: Option<U64>,
}

type Envelope = EthereumTxEnvelope<TxEip4844>;

impl TransactionJson {
    /// Returns the EIP-2718 bytes.
    pub(super) fn into_payload(self) -> Result<Vec<u8>, String> {
        let kind = self.kind.map_or(0, |kind| kind.to::<u64>());
        let envelope = match kind {
            0 => self.legacy(),
            1 => self.eip2930(),
            2 => self.eip1559(),
            3 => self.eip4844(),
            4 => self.eip7702(),
            other => Err(format!("type {other} is unknown")),
        }?;
        Ok(envelope.encoded_2718())
    }

    fn legacy(self) -> Result<Envelope, String> {
        let v = u64::try_from(self.v).map_err(|_| "v is out of range".to_owned())?;
        // EIP-155: the recovery number is 27 or 28, or holds the chain id.
        let (odd, chain_id) = match v {
            27 | 28 => (v == 28, None),
            35.. => ((v - 35) % 2 == 1, Some((v - 35) / 2)),
            _ => return Err(format!("v is {v}, which signs nothing")),
        };
        let tx = TxLegacy {
            chain_id,
            nonce: self.nonce.to(),
            gas_price: required(self.gas_price, "gasPrice")?.to(),
            gas_limit: self.gas.to(),
            to: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            input: self.input,
        };
        Ok(Signed::new_unhashed(tx, Signature::new(self.r, self.s, odd)).into())
    }

    fn eip2930(self) -> Result<Envelope, String> {
        let signature = self.signature()?;
        let tx = TxEip2930 {
            chain_id: required(self.chain_id, "chainId")?.to(),
            nonce: self.nonce.to(),
            gas_price: required(self.gas_price, "gasPrice")?.to(),
            gas_limit: self.gas.to(),
            to: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            access_list: required(self.access_list, "accessList")?,
            input: self.input,
        };
        Ok(Signed::new_unhashed(tx, signature).into())
    }

    fn eip1559(self) -> Result<Envelope, String> {
        let signature = self.signature()?;
        let tx = TxEip1559 {
            chain_id: required(self.chain_id, "chainId")?.to(),
            nonce: self.nonce.to(),
            gas_limit: self.gas.to(),
            max_fee_per_gas: required(self.max_fee_per_gas, "maxFeePerGas")?.to(),
            max_priority_fee_per_gas: self.priority_fee()?,
            to: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            access_list: required(self.access_list, "accessList")?,
            input: self.input,
        };
        Ok(Signed::new_unhashed(tx, signature).into())
    }

    fn eip4844(self) -> Result<Envelope, String> {
        let signature = self.signature()?;
        let hashes = required(self.blob_versioned_hashes.clone(), "blobVersionedHashes")?;
        let tx = TxEip4844 {
            chain_id: required(self.chain_id, "chainId")?.to(),
            nonce: self.nonce.to(),
            gas_limit: self.gas.to(),
            max_fee_per_gas: required(self.max_fee_per_gas, "maxFeePerGas")?.to(),
            max_priority_fee_per_gas: self.priority_fee()?,
            to: required(self.to, "to")?,
            value: self.value,
            access_list: required(self.access_list, "accessList")?,
            blob_versioned_hashes: hashes,
            max_fee_per_blob_gas: required(self.max_fee_per_blob_gas, "maxFeePerBlobGas")?.to(),
            input: self.input,
        };
        Ok(Signed::new_unhashed(tx, signature).into())
    }

    fn eip7702(self) -> Result<Envelope, String> {
        let signature = self.signature()?;
        let tx = TxEip7702 {
            chain_id: required(self.chain_id, "chainId")?.to(),
            nonce: self.nonce.to(),
            gas_limit: self.gas.to(),
            max_fee_per_gas: required(self.max_fee_per_gas, "maxFeePerGas")?.to(),
            max_priority_fee_per_gas: self.priority_fee()?,
            to: required(self.to, "to")?,
            value: self.value,
            access_list: required(self.access_list, "accessList")?,
            authorization_list: required(self.authorization_list, "authorizationList")?,
            input: self.input,
        };
        Ok(Signed::new_unhashed(tx, signature).into())
    }

    fn priority_fee(&self) -> Result<u128, String> {
        required(self.max_priority_fee_per_gas, "maxPriorityFeePerGas").map(|fee| fee.to())
    }

    fn signature(&self) -> Result<Signature, String> {
        let parity = self.y_parity.map_or(self.v, U256::from);
        match u8::try_from(parity) {
            Ok(odd @ (0 | 1)) => Ok(Signature::new(self.r, self.s, odd == 1)),
            _ => Err(format!("yParity is {parity}, which is neither 0 nor 1")),
        }
    }
}

fn required<T>(value: Option<T>, field: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("{field} is missing"))
}
