-- Large receipts and change sets are kept as zstd frames. Their digests are over what is in the frames, as ever.

-- Bytes in the frame; NULL where the column beside it holds the bytes as they are.
ALTER TABLE block_body ADD COLUMN receipts_length INTEGER;
ALTER TABLE block_body ADD COLUMN changes_length INTEGER;
