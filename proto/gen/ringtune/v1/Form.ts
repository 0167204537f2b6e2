// Original file: proto/ringtune/v1/coordinator.proto

import type { Member as _ringtune_v1_Member, Member__Output as _ringtune_v1_Member__Output } from '../../ringtune/v1/Member.ts';
import type { Seed as _ringtune_v1_Seed, Seed__Output as _ringtune_v1_Seed__Output } from '../../ringtune/v1/Seed.ts';
import type { Folder as _ringtune_v1_Folder, Folder__Output as _ringtune_v1_Folder__Output } from '../../ringtune/v1/Folder.ts';
import type { Held as _ringtune_v1_Held, Held__Output as _ringtune_v1_Held__Output } from '../../ringtune/v1/Held.ts';
import type { Peer as _ringtune_v1_Peer, Peer__Output as _ringtune_v1_Peer__Output } from '../../ringtune/v1/Peer.ts';
import type { Long } from '@grpc/proto-loader';

export interface Form {
  'generation'?: (number | string | Long);
  'rank'?: (number);
  'members'?: (_ringtune_v1_Member)[];
  'step'?: (number | string | Long);
  'seed'?: (_ringtune_v1_Seed | null);
  'folder'?: (_ringtune_v1_Folder | null);
  'held'?: (_ringtune_v1_Held | null);
  'localWorldSize'?: (number);
  'peer'?: (_ringtune_v1_Peer | null);
  'measureLinks'?: (boolean);
  'source'?: "seed"|"folder"|"held"|"peer";
}

export interface Form__Output {
  'generation': (number);
  'rank': (number);
  'members': (_ringtune_v1_Member__Output)[];
  'step': (number);
  'seed'?: (_ringtune_v1_Seed__Output | null);
  'folder'?: (_ringtune_v1_Folder__Output | null);
  'held'?: (_ringtune_v1_Held__Output | null);
  'localWorldSize': (number);
  'peer'?: (_ringtune_v1_Peer__Output | null);
  'measureLinks': (boolean);
  'source'?: "seed"|"folder"|"held"|"peer";
}
