-- Letters on their way out.
-- owner: platform

-- A letter until it has been handed over: `sealed` is recipient and contents, encrypted and bound to the letter's id;
-- `recipient` is a keyed digest of the address, so that erasing a person finds their letters. The job of the same id
-- sends it.
create table letters (
  letter_id uuid primary key,
  recipient bytea not null check (length(recipient) = 16),
  sealed bytea not null,
  created_at timestamptz not null default clock_timestamp()
);
create index letters_recipient on letters (recipient);
create index letters_created_at on letters (created_at);

-- What staff do may write a letter; none of theirs is to be read or changed afterwards, whoever's it is.
revoke select, update, delete, truncate on letters from holdfast_tenant;
